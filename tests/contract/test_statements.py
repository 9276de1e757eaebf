"""Statements that are built once write and find what those built anew would, against SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from server.access.store import TokenStore
from server.access.token import Role
from server.access.tokens import EnrolmentTokens, digest
from server.artifacts.files import FileByteStore
from server.core.database.prepared import fetch
from server.core.database.statements import insert_row, update_row
from server.core.database.transaction import Transaction
from server.fleet.store import DEVICES, DeviceStore, devices
from server.jobs.job import ClaimRequest, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobState
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def job_for(target: JobTarget) -> NewJob:
    return NewJob(kind=JobKind.MEASURE, payload={}, target=target)


def test_an_update_writes_its_values_and_gives_the_clock_that_it_wrote(world: World) -> None:
    device, other = world.enrol("one"), world.enrol("two")

    def work(tx: Transaction) -> None:
        before = tx.now()
        written = update_row(tx.connection, devices.c.id, device.id, {"reason": "why"}, {"last_seen_at": 90.0})
        found, untouched = DeviceStore(tx).get_device(device.id), DeviceStore(tx).get_device(other.id)
        assert found.reason == "why"
        assert untouched.reason == ""
        assert written == {"last_seen_at": found.last_seen_at}
        assert timedelta(seconds=89) < found.last_seen_at - before < timedelta(seconds=150)
        assert update_row(tx.connection, devices.c.id, "dev_of_nobody", {}, {"last_seen_at": 0.0}) == {}

    world.uow.write(work)


def test_claims_of_one_shape_are_told_apart_by_what_is_bound(world: World) -> None:
    device = world.enrol()

    def claim(tx: Transaction, key: str, rack: str) -> str | None:
        request = ClaimRequest(
            owner=device.id,
            kinds=(JobKind.MEASURE,),
            device_id=device.id,
            device_type="testboard",
            pool_keys=frozenset({key}),
            labels={"rack": rack},
        )
        job = JobStore(tx).claim_job(request)
        if job is None:
            return None
        assert job == JobStore(tx).get_job(job.id)  # what the claim gives is what it wrote
        assert job.state is JobState.LEASED
        return job.id

    def work(tx: Transaction) -> None:
        first = JobStore(tx).add_job(job_for(JobTarget(pool_key="a" * 64, labels={"rack": "1"})))
        second = JobStore(tx).add_job(job_for(JobTarget(pool_key="b" * 64)))
        assert claim(tx, "c" * 64, "1") is None
        assert claim(tx, "a" * 64, "2") is None
        assert claim(tx, "b" * 64, "2") == second.id
        assert claim(tx, "a" * 64, "1") == first.id
        assert claim(tx, "a" * 64, "1") is None

    world.uow.write(work)


def test_secrets_of_both_kinds_of_tokens_are_known_as_such(world: World) -> None:
    _, for_people = world.tokens.create("people", [Role.VIEWER])
    _, for_boards = EnrolmentTokens(world.uow).create("boards")
    for secret in (for_people, for_boards):
        assert world.uow.read(lambda tx, s=secret: TokenStore(tx).is_secret_of_token(digest(s)))  # type: ignore[misc]
    assert not world.uow.read(lambda tx: TokenStore(tx).is_secret_of_token(digest("another")))


def test_rows_are_converted_as_sqlalchemy_converts_them(world: World) -> None:
    world.enrol("one")

    def work(tx: Transaction) -> None:
        update_row(tx.connection, devices.c.name, "one", {"last_canary_ratio": 1.25}, {"last_canary_at": 0.0})
        statement = DEVICES.by(devices.c.name)
        (row,) = fetch(tx.connection, statement, {"key_0": "one"})
        assert row == tuple(tx.connection.execute(statement, {"key_0": "one"}).one())
        assert 1.25 in row

    world.uow.write(work)


def test_what_the_database_refuses_is_said_as_elsewhere(world: World) -> None:
    world.enrol("one")

    def work(tx: Transaction) -> None:
        device = DeviceStore(tx).find_device_by_name("one")
        assert device is not None
        insert_row(tx.connection, devices, DEVICES.row_of(device))

    with pytest.raises(IntegrityError):
        world.uow.write(work)


def test_a_connection_that_was_lost_is_replaced_and_the_work_done_again(world: World) -> None:
    if world.database.name != "postgresql":
        pytest.skip("SQLite has no connection to lose")
    tries = []

    def work(tx: Transaction) -> None:
        tries.append(tx.connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())
        if len(tries) == 1:
            world.database.execute("SELECT pg_terminate_backend(:pid)", pid=tries[0])
        tx.now()

    world.uow.write(work)
    assert len(set(tries)) == 2


def test_a_list_whose_length_is_said_at_each_call_is_refused(world: World) -> None:
    statement = sa.select(devices.c.id).where(devices.c.name.in_(["one", "two"]))
    with pytest.raises(TypeError, match="lists of values"):
        world.uow.read(lambda tx: fetch(tx.connection, statement, {}))
