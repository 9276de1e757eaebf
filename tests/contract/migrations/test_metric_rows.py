"""Metrics as rows: nothing is lost when a database is upgraded, and lists are read by indexes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa

from nas_engine.domain.metric import Goal, Metric
from nas_engine.domain.metrics import LATENCY_US, MACS, TEST_TOP1, TOP1
from server.bootstrap.schema import migrate
from server.candidates.candidate import CandidateQuery, MetricBound
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.states import CandidateState
from server.candidates.tables import evaluations
from server.core.database.transaction import UnitOfWork
from server.core.database.wakeups import Wakeups
from server.core.paging import PageRequest
from tests.support.processes import first_release
from tests.support.worlds.databases import PostgresServer
from tests.support.worlds.many_candidates import (
    BEFORE,
    GRAPH_COLUMNS,
    METRIC_COLUMNS,
    add_searches,
    first_release_database,
)

NUM_SEARCHES, NUM_CANDIDATES = 20, 200
INDEX = "ix_evaluations_search_id_metric_value_candidate_id"
pytestmark = pytest.mark.xdist_group("metric-rows")
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def old_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """A database of many searches at the revision before; the tests of this file take it further in order."""
    with ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            url = stack.enter_context(server.database(migrated=False))
        folder = tmp_path_factory.mktemp(f"metric-rows-{request.param}")
        engine = stack.enter_context(first_release_database(folder, url))
        add_searches(engine, num_searches=NUM_SEARCHES, num_candidates=NUM_CANDIDATES)
        _lose_an_evaluation(engine)
        yield engine


def _lose_an_evaluation(engine: sa.Engine) -> None:
    """Leave one candidate with a latency that no evaluation holds."""
    with engine.connect().execution_options(hilnas_write=True) as connection, connection.begin():
        connection.execute(
            sa.text("DELETE FROM evaluations WHERE metric = 'latency_us' AND candidate_id = :id"),
            {"id": _candidate_id(11)},
        )


def _candidate_id(number: int) -> str:
    return f"cand_01n{number:023d}"


@pytest.fixture(scope="module")
def before(old_database: sa.Engine) -> Rows:
    return first_release.rows_of(old_database)


@pytest.fixture(scope="module")
def database(old_database: sa.Engine, before: Rows) -> sa.Engine:
    """The database upgraded, and analysed, as PostgreSQL does of itself within a minute or so, now and not by luck."""
    assert before
    migrate(old_database)
    with old_database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    return old_database


@pytest.fixture
def uow(database: sa.Engine) -> UnitOfWork:
    return UnitOfWork(database, Wakeups(database))


@pytest.mark.long
def test_every_value_is_there_after_the_upgrade(database: sa.Engine, before: Rows) -> None:
    after = first_release.rows_of(database)
    current = {(row["candidate_id"], row["metric"]): row for row in after["evaluations"] if row["current"]}
    counts = {row["arch_id"]: row for row in before["architectures"]}
    num_values = 0
    for old in before["candidates"]:
        for metric in METRIC_COLUMNS:
            found = current.get((old["id"], metric))
            assert old[metric] == (None if found is None else found["value"]), (old["id"], metric)
            num_values += found is not None
            if metric == "latency_us" and found is not None:
                assert found["flags"] == old["latency_flags"]
        for metric in GRAPH_COLUMNS:
            found = current.get((old["id"], metric))
            assert counts[old["arch_id"]][metric] == (None if found is None else found["value"])
            num_values += found is not None
    assert num_values == len(current) > NUM_SEARCHES * NUM_CANDIDATES * 4
    evaluated = {row["id"]: row for row in after["evaluations"]}
    assert all(row.items() <= evaluated[row["id"]].items() for row in before["evaluations"])
    assert [{**row["values"]} for row in after["architectures"]] == [
        {name: row[name] for name in GRAPH_COLUMNS if row[name] is not None} for row in before["architectures"]
    ]


def test_a_row_says_what_it_is(database: sa.Engine) -> None:
    with database.connect() as connection:
        rows = connection.execute(
            sa.text('SELECT DISTINCT metric, unit, goal FROM evaluations WHERE "current" ORDER BY metric')
        ).all()
    assert [tuple(row) for row in rows] == [
        ("device_top1", "fraction", "maximize"),
        ("latency_us", "us", "minimize"),
        ("macs", "macs", "minimize"),
        ("params", "params", "minimize"),
        ("peak_activation_bytes", "bytes", "minimize"),
        ("test_top1", "fraction", "maximize"),
        ("top1", "fraction", "maximize"),
    ]


def _plans(uow: UnitOfWork, database: sa.Engine, work: Any) -> list[str]:
    """What the database says of how it runs each SELECT that `work` makes on evaluations."""
    statements: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if statement.startswith("SELECT") and "evaluations" in statement:
            statements.append((statement, parameters))

    sa.event.listen(database, "before_cursor_execute", note)
    try:
        uow.read(work)
    finally:
        sa.event.remove(database, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN" if database.dialect.name == "sqlite" else "EXPLAIN"
    with database.connect() as connection:
        return [
            "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", parameters))
            for statement, parameters in statements
        ]


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("metric", [TOP1, LATENCY_US, MACS], ids=lambda metric: metric.name)
def test_a_sorted_page_is_read_by_the_index(
    uow: UnitOfWork, database: sa.Engine, metric: Any, descending: bool
) -> None:
    query = CandidateQuery(search_id="srch_01n" + f"{3:023d}", order=metric, descending=descending)
    first = uow.read(lambda tx: CandidateStore(tx).page_of_candidates(query, PageRequest(50)))
    for page in (PageRequest(50), PageRequest(50, first.next)):
        plans = _plans(uow, database, lambda tx, page=page: CandidateStore(tx).page_of_candidates(query, page))
        assert len(plans) == 2  # the page, and the values of what is on it
        _require_index(plans[0], INDEX)
        # PostgreSQL may rather sort the values of one search than follow the index to pages all over the table.
        assert "TEMP B-TREE" not in plans[0], plans[0]
        for plan in plans:
            _refuse_scan(plan)


@pytest.fixture
def theirs(database: sa.Engine) -> Iterator[Metric]:
    """A metric that a package brings, of every third candidate; statistics do not know of it yet."""
    metric = Metric("theirs", "things", Goal.MINIMIZE)
    copied = sa.insert(evaluations).from_select(
        [column.name for column in evaluations.c],
        sa.select(
            *(
                {"id": "eval_y" + sa.func.substr(evaluations.c.id, 7), "metric": sa.literal(metric.name)}.get(
                    column.name, column
                )
                for column in evaluations.c
            )
        ).where(evaluations.c.metric == TOP1.name, evaluations.c.current, evaluations.c.value < 0.33),
    )
    with database.connect().execution_options(hilnas_write=True) as connection, connection.begin():
        connection.execute(copied)
        number = sa.select(sa.func.count()).where(evaluations.c.metric == metric.name)
        assert connection.execute(number).scalar_one() > NUM_SEARCHES * NUM_CANDIDATES // 5
    yield metric
    with database.connect().execution_options(hilnas_write=True) as connection, connection.begin():
        connection.execute(sa.delete(evaluations).where(evaluations.c.metric == metric.name))


def test_metrics_that_few_candidates_have_are_sorted_and_bounded_by_the_index(
    uow: UnitOfWork, database: sa.Engine, theirs: Metric
) -> None:
    search_id = f"srch_01n{3:023d}"
    for metric in (TEST_TOP1, theirs):
        for query in (
            CandidateQuery(search_id=search_id, order=metric),
            CandidateQuery(search_id=search_id, order=metric, bounds=(MetricBound(metric=metric, maximum=0.3),)),
            CandidateQuery(search_id=search_id, order=LATENCY_US, bounds=(MetricBound(metric=metric, maximum=0.3),)),
        ):
            listed = _plans(
                uow, database, lambda tx, query=query: CandidateStore(tx).page_of_candidates(query, PageRequest(50))
            )
            counted = _plans(uow, database, lambda tx, query=query: CandidateStore(tx).count_candidates(query))
            assert len(listed) >= 2
            assert any(f"{kind}_evaluations_" in listed[0] for kind in ("ix", "uq")), listed[0]
            for plan in (*listed, *counted):
                _refuse_scan(plan)


def test_bounds_counts_and_the_front_are_read_by_indexes(uow: UnitOfWork, database: sa.Engine) -> None:
    search_id = f"srch_01n{3:023d}"
    bounds = (MetricBound(metric=LATENCY_US, maximum=2000.0), MetricBound(metric=TOP1, minimum=0.9))
    query = CandidateQuery(search_id=search_id, states=(CandidateState.COMPLETE,), bounds=bounds)
    found = [
        *_plans(uow, database, lambda tx: CandidateStore(tx).page_of_candidates(query, PageRequest(50))),
        *_plans(uow, database, lambda tx: CandidateStore(tx).count_candidates(query)),
        *_plans(uow, database, lambda tx: EvaluationStore(tx).values_of_search(search_id, (TOP1, LATENCY_US))),
    ]
    assert len(found) == 5
    for plan in found:
        _refuse_scan(plan)
    _require_index(found[-1], INDEX)


def _require_index(plan: str, index: str) -> None:
    assert index in plan, plan


def _refuse_scan(plan: str) -> None:
    assert "SCAN evaluations" not in plan, plan
    assert "Seq Scan on evaluations" not in plan, plan


def test_the_revision_before_can_be_gone_back_to(database: sa.Engine, before: Rows) -> None:
    migrate(database, BEFORE)
    after = first_release.rows_of(database)
    assert after["candidates"] == before["candidates"]
    assert after["architectures"] == before["architectures"]
    kept = {row["id"]: row for row in after["evaluations"]}
    assert all(kept[row["id"]] == row for row in before["evaluations"])
    assert len(kept) == len(before["evaluations"]) + 1, json.dumps([*kept][:1])  # the value that none held
