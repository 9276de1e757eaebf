"""Claims of boards with rules, and the count of a board's day, are read by indexes; SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from server.access.principal import Principal
from server.access.store import PrincipalStore
from server.artifacts.files import FileByteStore
from server.core.database.transaction import Transaction
from server.jobs.claims import claim_statement, values_of
from server.jobs.job import ClaimRequest, NewJob, OwnersTaken
from server.jobs.lease_history import BOARD_TIME
from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from server.jobs.tables import jobs, leases
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World

NUM = 4000


@pytest.fixture
def owners(database: TestDatabase, tmp_path: Path) -> list[str]:
    """Owners of thousands of queued jobs; each job was leased once, to one of many devices."""
    world = World(database, FileByteStore(tmp_path / "artifacts"))

    def fill(tx: Transaction) -> list[str]:
        now = tx.now()
        people = [Principal(id=f"prin_{n}", name=f"owner {n}", created_at=now) for n in range(4)]
        ids = [PrincipalStore(tx).put_principal(one).id for one in people]
        first = JobStore(tx).add_job(NewJob(kind=JobKind.MEASURE, payload={}))
        row = dict(tx.connection.execute(sa.select(jobs).where(jobs.c.id == first.id)).mappings().one())
        copies = [
            {**row, "id": f"job_{n:05d}", "owner_id": ids[n % 4], "turn": n // 4, "lease_epoch": 1} for n in range(NUM)
        ]
        tx.connection.execute(sa.insert(jobs), copies)
        held: list[dict[str, Any]] = [
            {
                "lease_id": f"lea_{n:05d}",
                "job_id": f"job_{n:05d}",
                "lease_epoch": 1,
                "attempt": 1,
                "owner": f"dev_{n % 100}",
                "device_id": f"dev_{n % 100}",
                "claimed_at": now - timedelta(minutes=n + 1),
                "ended_at": now - timedelta(minutes=n),
                "failure_message": "",
            }
            for n in range(NUM)
        ]
        tx.connection.execute(sa.insert(leases), held)
        return ids

    ids = world.uow.write(fill)
    database.execute("ANALYZE")
    return ids


def plan(database: TestDatabase, statement: Any, values: dict[str, Any]) -> str:
    """What the database says of how it runs a statement."""
    noted: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, _many: bool) -> None:
        noted.append((sql, parameters))

    explain = "EXPLAIN QUERY PLAN" if database.name == "sqlite" else "EXPLAIN"
    with database.engine.connect() as connection:
        sa.event.listen(connection, "before_cursor_execute", note)
        connection.execute(statement, values).all()
        sa.event.remove(connection, "before_cursor_execute", note)
        sql, parameters = noted[-1]
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {sql}", parameters))


def scanned(found: str, table: str) -> bool:
    return f"SCAN {table}\n" in f"{found}\n" or f"Seq Scan on {table}" in found


@pytest.mark.parametrize("which", ["everybody's", "listed", "all but some", "its owner's", "nobody's"])
def test_a_claim_finds_its_job_by_an_index_whoever_s_it_takes(
    database: TestDatabase, owners: list[str], which: str
) -> None:
    taken = {
        "everybody's": None,
        "listed": OwnersTaken(ids=frozenset(owners[1:])),
        "all but some": OwnersTaken(ids=frozenset(owners[:2]), excepted=True, nobodys=True),
        "its owner's": OwnersTaken(ids=frozenset(owners[:1])),
        "nobody's": OwnersTaken(nobodys=True),
    }[which]
    request = ClaimRequest(owner="dev_1", kinds=(JobKind.MEASURE,), device_id="dev_1", owners=taken)
    found = plan(database, claim_statement(request), values_of(request))
    assert "ix_jobs_queue" in found or "ix_jobs_owner_id" in found, found
    assert not scanned(found, "jobs"), found
    job = database.uow.write(lambda tx: JobStore(tx).claim_job(request))
    assert job is not None
    assert taken is None or taken.include(job.owner)


def test_the_time_of_a_day_is_counted_by_the_index_of_the_device(database: TestDatabase, owners: list[str]) -> None:
    now = database.uow.read(lambda tx: tx.now())
    since = now - timedelta(minutes=1000)
    found = plan(database, BOARD_TIME, {"device_id": "dev_7", "since": since})
    assert "ix_leases_device_id" in found, found
    assert not scanned(found, "leases"), found
    used_s = database.uow.read(lambda tx: JobStore(tx).board_time_s("dev_7", since))
    assert used_s == {owners[3]: pytest.approx(600.0)}
