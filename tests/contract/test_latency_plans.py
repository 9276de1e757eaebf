"""The question for many latencies is answered by indexes, in as many statements whatever is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from nas_engine.spaces.registry import create_space
from server.core.database.transaction import Transaction
from server.latencies.predictors.predictor import PredictedGroup
from server.latencies.predictors.store import PredictorStore
from server.latencies.store import LatencyStore
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.many_measurements import Many, add_measurements


@pytest.fixture
def many(database: TestDatabase) -> Many:
    space = create_space("spos", {})
    return add_measurements(database.engine, database.uow, space, num_architectures=3000)


def plans(database: TestDatabase, work: Callable[[Transaction], object]) -> list[str]:
    """What the database says of how it runs each SELECT that `work` makes on measurements."""
    statements: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.startswith("SELECT") and "measurements" in statement:
            statements.append((statement, parameters))

    engine = database.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        database.uow.read(work)
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        return [
            "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters))
            for statement, parameters in statements
        ]


def by_index(plan: str, index: str) -> None:
    assert index in plan, plan
    assert "SCAN measurements" not in plan, plan
    assert "Seq Scan on measurements" not in plan, plan


def test_many_pairs_are_read_in_one_statement_by_an_index(database: TestDatabase, many: Many) -> None:
    arch_ids, types = many.arch_ids[100:150], many.device_types[:5]
    keys = [one[::-1] for one in arch_ids]
    found: list[Any] = []
    (plan,) = plans(
        database,
        lambda tx: found.extend(LatencyStore(tx).newest_by_arch_id(arch_ids, types, require_valid=False)),
    )
    by_index(plan, "ix_measurements_arch_id")
    assert {one.arch_id for one in found} == set(arch_ids)
    pairs = [(one.arch_id, one.device_type, one.hardware_key) for one in found]
    assert len(set(pairs)) == len(pairs)
    assert {one.device_type for one in found} == set(types)
    again: list[Any] = []
    (plan,) = plans(
        database, lambda tx: again.extend(LatencyStore(tx).newest_by_latency_key(keys, types, require_valid=True))
    )
    by_index(plan, "ix_measurements_latency_key_hardware_key")
    assert {one.id for one in again} == {one.id for one in found}


def test_new_measurements_are_counted_by_the_primary_key_and_samples_read_by_hardware(
    database: TestDatabase, many: Many
) -> None:
    counted: list[Any] = []
    middle = "meas_01n00000000000000" + "000029000"
    first, second = plans(database, lambda tx: counted.append(PredictorStore(tx).new_in_groups(middle, 500)))
    for plan in (first, second):
        by_index(plan, "measurements")
        assert "pk_measurements" in plan or "sqlite_autoindex_measurements" in plan, plan
    newest, groups = counted[0]
    assert newest == "meas_01n00000000000000" + "000029500"
    assert sum(groups.values()) == 500

    space = create_space("spos", {})
    parameters = space.decode(many.genotypes[0]).parameters
    group = PredictedGroup(
        device_type=many.device_types[0], hardware_key=many.hardware_keys[0], space_id="spos", parameters=parameters
    )
    samples: list[Any] = []
    (plan,) = plans(database, lambda tx: samples.extend(PredictorStore(tx).samples_of(group, 40)))
    assert "Seq Scan on measurements" not in plan, plan
    assert "SCAN measurements" not in plan, plan
    assert len(samples) == 40
    assert len({one.arch_id for one in samples}) == 40
