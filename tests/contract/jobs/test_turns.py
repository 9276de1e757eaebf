"""Owners take turns: who orders few jobs does not wait for all of one who orders many; SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.access.principal import Principal
from server.access.token import Role
from server.artifacts.files import FileByteStore
from server.jobs.job import ClaimRequest, Job, NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def owner(world: World, name: str) -> Principal:
    return world.tokens.create(name, [Role.ENGINEER], principal=name)[0].owner


def order(world: World, who: Principal | None, num: int = 1, priority: int = 0) -> list[Job]:
    new = NewJob(kind=JobKind.MEASURE, payload={}, owner=who, priority=priority)
    return [world.uow.write(lambda tx: JobStore(tx).add_job(new)) for _ in range(num)]


def claim(world: World) -> str:
    request = ClaimRequest(owner="w", kinds=(JobKind.MEASURE,), ttl_s=60.0)
    job = world.uow.write(lambda tx: JobStore(tx).claim_job(request))
    assert job is not None
    return "nobody" if job.owner is None else job.owner.name


def ahead(world: World, job: Job) -> int:
    return world.uow.read(lambda tx: JobStore(tx).num_jobs_ahead(job))


def test_one_order_is_done_next_though_another_owner_ordered_many_before(world: World) -> None:
    many, few = owner(world, "many"), owner(world, "few")
    order(world, many, 20)
    (mine,) = order(world, few)
    assert ahead(world, mine) == 1
    assert [claim(world) for _ in range(3)] == ["many", "few", "many"]


def test_owners_who_keep_ordering_share_evenly_and_none_is_left_behind(world: World) -> None:
    many, few = owner(world, "many"), owner(world, "few")
    order(world, many, 20)
    claimed = []
    for _ in range(10):
        order(world, few)
        claimed += [claim(world), claim(world)]
    assert claimed.count("many") == claimed.count("few") == 10


def test_jobs_of_one_owner_go_in_the_order_they_were_ordered(world: World) -> None:
    for num_leased, who in ((0, owner(world, "one")), (5, None)):
        jobs = order(world, who, 5)
        assert [ahead(world, job) - num_leased for job in jobs] == [0, 1, 2, 3, 4]
        for _ in jobs:
            claim(world)


def test_who_comes_late_begins_where_the_others_stand(world: World) -> None:
    first, second, late = owner(world, "first"), owner(world, "second"), owner(world, "late")
    order(world, first, 10)
    order(world, second, 10)
    for _ in range(12):
        claim(world)
    order(world, late, 10)
    following = [claim(world) for _ in range(6)]
    assert {following.count(name) for name in ("first", "second", "late")} == {2}


def test_priority_goes_before_turns(world: World) -> None:
    many, few = owner(world, "many"), owner(world, "few")
    order(world, many, 3, priority=5)
    order(world, few)
    assert [claim(world) for _ in range(4)] == ["many", "many", "many", "few"]
