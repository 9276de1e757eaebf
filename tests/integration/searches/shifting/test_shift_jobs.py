"""SHIFT jobs: what happens when a search is paused, cancelled, or its worker lost while the supernet is shifted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap.job_kinds import all_job_kinds
from server.candidates.search import Search
from server.candidates.states import CandidateState, SearchState
from server.core.errors import LeaseLostError
from server.core.event_type import EventType
from server.core.events import EventQuery, EventStore
from server.core.paging import PageRequest
from server.jobs.job import Job, JobQuery
from server.jobs.states import JobKind, JobState
from tests.support.samples.shifting_searches import (
    BUDGET,
    IMMEDIATE,
    POPULATION,
    accuracies,
    own_versions,
    shifting_spec,
)
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import WorkerWorld


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


@pytest.fixture
def world_on_either(database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(database, tmp_path)


@pytest.fixture
def search(world: WorkerWorld) -> Search:
    """A search whose first shift is leased next."""
    return world.search(**shifting_spec(world.ready_supernet(), shifting=dict(IMMEDIATE)))


def next_shift(world: WorkerWorld) -> Job:
    """Do what comes before the next SHIFT job, and lease that."""
    while (job := world.claim()) is not None and job.kind is not JobKind.SHIFT:
        world.do(job)
    assert job is not None
    return job


def shift(world: WorkerWorld, job: Job, stopped: Callable[[], bool] = lambda: False) -> None:
    assert job.lease is not None
    world.handlers[job.kind](job, job.lease, stopped)


def jobs_of(world: WorkerWorld, search: Search, kind: JobKind) -> list[Job]:
    query = JobQuery(search_id=search.id, kinds=(kind,))
    return list(world.dispatch.page(query, PageRequest(200)).items)


def outcome(world: WorkerWorld, search: Search) -> list[tuple[Any, ...]]:
    """What a search comes to, without ids and times."""
    weights = {v.id: v.weights_sha256 for v in own_versions(world, search)}
    genotypes = {c.id: c.genotype for c in world.candidates(search)}
    taken = accuracies(world, search)
    return sorted((genotypes[e.candidate_id], e.attempt, weights[e.supernet_version_id or ""], e.value) for e in taken)


def test_shifting_runs_among_the_heavy_jobs_and_steps_among_the_short_ones() -> None:
    lane_of = {one.kind: one.executor.name for one in all_job_kinds()}
    assert lane_of[JobKind.SHIFT] == lane_of[JobKind.TRAIN] == "heavy"
    assert lane_of[JobKind.SEARCH_STEP] == "short"


def test_no_step_is_queued_while_the_supernet_is_shifted(world: WorkerWorld, search: Search) -> None:
    job = next_shift(world)
    world.dispatch.reconcile()
    assert world.claim() is None
    assert [j.state for j in jobs_of(world, search, JobKind.SEARCH_STEP)] == [JobState.DONE]
    assert {c.state for c in world.candidates(search)} == {CandidateState.ASKED}
    shift(world, job)
    assert len(jobs_of(world, search, JobKind.EVALUATE)) == POPULATION - 1  # the last one was scored at once


def test_the_loss_of_each_candidate_is_told_while_it_shifts(world: WorkerWorld, search: Search) -> None:
    shift(world, next_shift(world))
    events = world.uow.read(lambda tx: EventStore(tx).events_after(0, EventQuery(search_id=search.id), 1000))
    payloads = [event.payload for event in events if event.type is EventType.WORK]
    assert [(t["kind"], t["done"], t["total"]) for t in payloads] == [
        ("shift", n + 1, POPULATION) for n in range(POPULATION)
    ]
    assert [t["candidate_id"] for t in payloads] == [c.id for c in world.candidates(search)]
    assert all(isinstance(t["loss"], float) and t["loss"] > 0 for t in payloads)
    assert all(isinstance(t["top1"], float) for t in payloads)


def test_a_worker_lost_in_a_shift_is_replaced_and_the_same_comes_of_it(world_on_either: WorkerWorld) -> None:
    world = world_on_either
    undisturbed = world.ran(**shifting_spec(world.ready_supernet(), shifting=dict(IMMEDIATE)))
    disturbed = world.search(**shifting_spec(world.ready_supernet(), shifting=dict(IMMEDIATE)))
    for _ in range(BUDGET // POPULATION):
        lost = next_shift(world)
        places = iter([False] * 4)
        shift(world, lost, lambda places=places: next(places, True))  # type: ignore[misc]
        world.database.kill_lease(lost.id)
        assert world.dispatch.sweep().num_requeued == 1
        world.database.skip_backoff()
        world.restart()
        again = next_shift(world)
        assert again.id == lost.id
        with pytest.raises(LeaseLostError):
            shift(world, lost)
        shift(world, again)
    world.run()
    assert world.searches.get_search(disturbed.id).state is SearchState.COMPLETED
    assert outcome(world, disturbed) == outcome(world, undisturbed)
    assert len(own_versions(world, disturbed)) == BUDGET


def test_a_worker_that_lost_its_lease_stops_at_the_next_candidate(world: WorkerWorld, search: Search) -> None:
    job, taken_over = next_shift(world), list[Job]()

    def somebody_else_takes_it() -> bool:
        if not taken_over:
            world.database.kill_lease(job.id)
            world.dispatch.sweep()
            world.database.skip_backoff()
            taken_over.append(next_shift(world))
        return False

    with pytest.raises(LeaseLostError):
        shift(world, job, somebody_else_takes_it)
    assert own_versions(world, search) == []
    shift(world, taken_over[0])
    world.run()
    assert world.searches.get_search(search.id).state is SearchState.COMPLETED
    assert len(own_versions(world, search)) == BUDGET


def test_a_search_cancelled_during_a_shift_leaves_no_version(world: WorkerWorld, search: Search) -> None:
    job = next_shift(world)
    world.searches.cancel(search.id)
    shift(world, job)
    assert own_versions(world, search) == []
    assert [j.state for j in jobs_of(world, search, JobKind.SHIFT)] == [JobState.CANCELLED]
    assert world.searches.get_search(search.id).state is SearchState.CANCELLED
    assert world.run() == 0


def test_a_pause_lets_the_shift_end_and_a_resumed_search_comes_to_the_same(world: WorkerWorld, search: Search) -> None:
    undisturbed = world.ran(**shifting_spec(world.ready_supernet(), shifting=dict(IMMEDIATE)))
    paused = world.search(**shifting_spec(world.ready_supernet(), shifting=dict(IMMEDIATE)))
    job = next_shift(world)
    assert world.searches.pause(paused.id).state is SearchState.DRAINING
    shift(world, job)
    world.run()
    assert world.searches.get_search(paused.id).state is SearchState.PAUSED
    assert len(own_versions(world, paused)) == POPULATION
    assert world.candidates(paused)[0].state is CandidateState.COMPLETE
    world.searches.resume(paused.id)
    world.run()
    assert world.searches.get_search(paused.id).state is SearchState.COMPLETED
    assert outcome(world, paused) == outcome(world, undisturbed)
    assert outcome(world, search) == outcome(world, undisturbed)
