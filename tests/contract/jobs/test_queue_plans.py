"""Claims and orders are answered by indexes, however many jobs wait; both databases are asked for their plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from server.jobs.claims import claim_statement, next_statement, shared_statement, values_of
from server.jobs.job import ClaimRequest
from server.jobs.shares.store import LATEST_LANES, present_statement
from server.jobs.shares.turns import TURN, line_of
from server.jobs.states import JobKind
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.queue_world import OTHER_POOL, POOL, QueueWorld

NUM_WAITING, NUM_OWNERS = 20_000, 5
REQUEST = ClaimRequest(
    owner="board",
    kinds=(JobKind.MEASURE,),
    device_id="board",
    device_type="rk3588",
    pool_keys=frozenset({POOL}),
    labels={"site": "lab"},
)


@pytest.fixture
def owner_id(database: TestDatabase) -> str:
    """One of the owners of very many jobs, of two types of boards."""
    queue = QueueWorld(database.uow)
    ids = [queue.owner(f"owner {number}").id for number in range(NUM_OWNERS)]
    for number, one in enumerate(ids):
        database.execute(
            "INSERT INTO jobs (id, kind, state, payload, priority, turn, interactive, target_device_type,"
            " target_pool_key, target_labels, attempt, max_attempts, not_before, lease_epoch, accepted,"
            " cancel_requested, failure_message, created_at, owner_id) "
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :last) "
            "SELECT 'job_' || CAST(:base + i AS VARCHAR), 'measure', 'queued', '{}', 0, CAST(i AS BIGINT) * :turn,"
            " false, CASE WHEN i % 2 = 0 THEN 'rk3588' ELSE 'cpu' END, CASE WHEN i % 2 = 0 THEN :pool ELSE :other END,"
            " '{}', 0, 3, 0, 0, false, false, '', 1, :owner FROM n",
            last=NUM_WAITING // NUM_OWNERS - 1,
            base=(number + 1) * NUM_WAITING,
            turn=TURN,
            pool=POOL,
            other=OTHER_POOL,
            owner=one,
        )
    database.execute("ANALYZE")
    for number in range(300):
        queue.order(None, interactive=number % 2 == 0)
        queue.claim(f"board-{number % 7}")
    return ids[0]


def plan(database: TestDatabase, statement: sa.Select[Any], values: Mapping[str, Any]) -> str:
    """What the database says of how it runs a statement with values that are bound, as the server binds them."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        seen.append((statement, parameters))

    engine = database.engine
    with engine.connect() as connection:
        sa.event.listen(engine, "before_cursor_execute", note)
        try:
            connection.execute(statement, values).all()
        finally:
            sa.event.remove(engine, "before_cursor_execute", note)
        ((sql, parameters),) = [one for one in seen if "jobs" in one[0]]
        explain = "EXPLAIN QUERY PLAN" if database.name == "sqlite" else "EXPLAIN"
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {sql}", parameters))


def by_index(text: str, *indexes: str) -> None:
    for index in indexes:
        assert index in text, text
    for whole in ("SCAN jobs", "SCAN leases", "Seq Scan on jobs", "TEMP B-TREE"):
        assert whole not in text, text


def test_a_claim_takes_the_first_of_the_queues_index(database: TestDatabase, owner_id: str) -> None:
    of_priority = {**values_of(REQUEST), "priority": 0}
    for statement, values in (
        (claim_statement(REQUEST), values_of(REQUEST)),
        (shared_statement(REQUEST), of_priority),
        (next_statement(REQUEST), values_of(REQUEST)),
    ):
        text = plan(database, statement, values)
        by_index(text, "ix_jobs_queue")
        assert "Sort" not in text, text


def test_what_a_board_claimed_last_is_read_from_the_end_of_its_leases(database: TestDatabase, owner_id: str) -> None:
    text = plan(database, LATEST_LANES, {"claimant": "board-1"})
    if database.name == "sqlite":  # PostgreSQL reads a table as small as this as a whole
        by_index(text, "ix_leases_owner")


def test_a_turn_is_found_by_the_ends_of_indexes(database: TestDatabase, owner_id: str) -> None:
    kinds = line_of(JobKind.MEASURE, "rk3588")
    statement = present_statement(kinds, typed=True, pooled=True, of_somebody=True)
    values = {
        "of_owner": owner_id,
        "of_type": "rk3588",
        "of_pool": POOL,
        "of_priority": 0,
        "of_lane": False,
    }
    by_index(plan(database, statement, values), "ix_jobs_waiting", "ix_jobs_owner_id")
