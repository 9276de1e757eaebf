"""Principals, the tokens they hold and the things they own, against SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.access.principal import Creator
from server.access.token import ApiToken, Role
from server.artifacts.files import FileByteStore
from server.candidates.search import Search, SearchQuery
from server.core.paging import PageRequest
from server.jobs.job import Job, JobQuery
from server.jobs.queue import JobStore
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World

PAGE = PageRequest(100)


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def token(world: World, name: str, principal: str | None = None) -> ApiToken:
    return world.tokens.create(name, [Role.ENGINEER], principal=principal)[0]


def search_of(world: World, owner: ApiToken) -> Search:
    return world.searches.create_search(world.spec(), Creator(owner.id, owner.owner))


def test_tokens_that_name_a_principal_share_it(world: World) -> None:
    laptop, pipeline = token(world, "laptop", "ada"), token(world, "pipeline", "ada")
    assert laptop.owner == pipeline.owner
    assert laptop.owner.name == "ada"
    assert world.tokens.get(pipeline.id).owner == laptop.owner
    assert [one.id for one in world.tokens.all("ada")] == [laptop.id, pipeline.id]


def test_tokens_without_one_never_share_a_principal_though_they_share_a_name(world: World) -> None:
    named, first, second = token(world, "x", "ci"), token(world, "ci"), token(world, "ci")
    assert len({one.owner.id for one in (named, first, second)}) == 3
    assert first.owner.name == f"ci ({first.id})"
    long = "n" * 200
    assert token(world, long).owner.name == long
    assert len(token(world, long).owner.name) <= 200


def test_what_is_made_belongs_to_the_principal_and_is_found_by_its_name_or_id(world: World) -> None:
    ada, bob, _ = token(world, "ada"), token(world, "bob"), world.enrol()
    hers, his = search_of(world, ada), search_of(world, bob)
    assert (hers.created_by, hers.owner) == (ada.id, ada.owner)
    assert world.searches.get_search(his.id).owner == bob.owner
    for wanted in ("ada", ada.owner.id):
        query = SearchQuery(owner=wanted)
        assert [one.id for one in world.searches.page_of_searches(query, PAGE).items] == [hers.id]
        assert world.searches.count_searches(query) == 1
    assert world.searches.page_of_searches(SearchQuery(owner="nobody"), PAGE).items == ()


def test_every_job_of_a_search_is_its_owners(world: World) -> None:
    ada, device = token(world, "ada"), world.enrol()
    search = search_of(world, ada)
    world.worker.run()
    device.run()
    world.worker.run()
    jobs = world.uow.read(lambda tx: JobStore(tx).page_of_jobs(JobQuery(search_id=search.id), PAGE)).items
    assert len({job.kind for job in jobs}) > 2
    assert {job.owner for job in jobs} == {ada.owner}
    found = world.uow.read(lambda tx: JobStore(tx).page_of_jobs(JobQuery(owner="ada"), PAGE)).items
    assert {job.id for job in found} == {job.id for job in jobs}


def test_a_job_that_another_search_takes_over_changes_its_owner_with_it(world: World) -> None:
    ada, bob = token(world, "ada"), token(world, "bob")
    world.enrol()
    first, second = search_of(world, ada), search_of(world, bob)
    world.worker.run()
    before = _measuring(world, first)
    assert {job.owner for job in before.values()} == {ada.owner}
    world.searches.cancel(first.id)
    taken = {id: job for id, job in _measuring(world, second).items() if id in before}
    assert taken
    assert {job.owner for job in taken.values()} == {bob.owner}


def _measuring(world: World, search: Search) -> dict[str, Job]:
    query = JobQuery(search_id=search.id)
    jobs = world.uow.read(lambda tx: JobStore(tx).page_of_jobs(query, PAGE)).items
    return {job.id: job for job in jobs if job.kind.value == "measure"}


def test_a_board_belongs_to_the_owner_of_its_enrolment_token_and_keeps_it(world: World) -> None:
    ada = token(world, "ada")
    device = world.enrol("bench-9", creator=Creator(ada.id, ada.owner))
    assert world.devices.get(device.id).owner == ada.owner
    device.sync()
    assert world.devices.get(device.id).owner == ada.owner


def test_without_authentication_nobody_owns_what_is_made(world: World) -> None:
    world.enrol()
    search = world.search()
    assert world.searches.get_search(search.id).owner is None
