"""DERIVE jobs: followed live, stopped, handed to another worker, paused, cancelled, and what becomes of the search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.bootstrap import worker as worker_process
from server.candidates.search import Search
from server.candidates.states import SearchState
from server.core.event_type import EventType
from server.core.events import EventQuery, EventStore
from server.jobs.job import Job, LeaseRef
from server.jobs.states import JobKind, JobState
from server.searches.steps.derivations import DERIVING
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.table_world import DENSE_SPACE
from tests.support.worlds.worker_world import WorkerWorld

ALGORITHM: dict[str, Any] = {
    "kind": "densenas",
    "cost_factors": [0.0, 20.0],
    "cost_base": 1.5,
    "dataset": "stripes",
    "epochs": 2,
    "first_architecture_epoch": 1,
    "batch_size": 12,
    "architecture_learning_rate": 0.3,
    "augmentation": "none",
    "checkpoint_every_steps": 2,
}
SPEC: dict[str, Any] = {"space": DENSE_SPACE, "algorithm": ALGORITHM, "objectives": [{"metric": "macs"}]}


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def until_deriving(world: WorkerWorld) -> tuple[Job, LeaseRef]:
    """Do steps until a derivation is to be done; it is leased."""
    while True:
        job = world.claim()
        assert job is not None, "no derivation was ordered"
        assert job.lease is not None
        if job.kind is JobKind.DERIVE:
            return job, job.lease
        world.do(job)


def stop_after(num_questions: int) -> Callable[[], bool]:
    """Says stop when it has been asked so often; the training asks before every step."""
    asked = iter(range(num_questions))
    return lambda: next(asked, None) is None


def work_events(world: WorkerWorld, search: Search) -> list[Any]:
    events = world.uow.read(lambda tx: EventStore(tx).events_after(0, EventQuery(search_id=search.id), 1000))
    return [event.payload for event in events if event.type is EventType.WORK]


def genotypes(world: WorkerWorld, search: Search) -> list[Any]:
    return [candidate.genotype for candidate in world.candidates(search)]


@pytest.fixture
def undisturbed(world: WorkerWorld) -> list[Any]:
    """What the search derives when nothing happens to it."""
    return genotypes(world, world.ran(**SPEC))


def test_a_derivation_is_followed_live(world: WorkerWorld) -> None:
    search = world.ran(**SPEC)
    assert search.state is SearchState.COMPLETED, search.reason
    assert search.reason == "the search of every cost factor is done"
    events = work_events(world, search)
    assert {event["kind"] for event in events} == {"derive"}
    for number, factor in enumerate(ALGORITHM["cost_factors"]):
        own = [event for event in events if event["number"] == number]
        steps = [event["step"] for event in own]
        assert steps == sorted(set(steps))
        assert steps[-1] == own[-1]["num_steps"]
        assert {event["cost_factor"] for event in own} == {factor}
        assert own[-1]["epoch"] == own[-1]["num_epochs"] == 2
        for event in own:
            assert event["loss"] > 0
            assert event["expected_cost"] > 0
            assert event["collapse"] in ("none", "skips", "cheapest")
    first, second = world.report(search, "derived")
    assert first["expected_cost"] == [event for event in events if event["number"] == 0][-1]["expected_cost"]
    assert second["expected_cost"] < first["expected_cost"]
    assert world.candidates(search)[0].provenance == {
        "operator": "densenas",
        **{key: value for key, value in first.items() if key not in ("genotype", "new")},
    }


def test_another_worker_goes_on_from_the_stored_checkpoint(
    world: WorkerWorld, undisturbed: list[Any], tmp_path: Path
) -> None:
    search = world.search(**SPEC)
    job, lease = until_deriving(world)
    world.handlers[JobKind.DERIVE](job, lease, stop_after(6))
    kept = world.searches.get_search(search.id).progress.report[DERIVING]
    assert isinstance(kept, dict)
    assert (kept["number"], kept["step"]) == (0, 6)
    world.dispatch.give_back(lease, "the worker is shutting down")
    elsewhere = world.settings.model_copy(
        update={"home": tmp_path / "elsewhere", "artifact_dir": world.settings.effective_artifact_dir}
    )
    world.handlers = worker_process._handlers(elsewhere, world.uow, world.dispatch.kinds, world.artifacts, None)
    world.run()
    done = world.searches.get_search(search.id)
    assert done.state is SearchState.COMPLETED, done.reason
    resumed = [event["step"] for event in work_events(world, search) if event["number"] == 0]
    assert len(resumed) == len(set(resumed)), "steps that are in the checkpoint were made again"
    assert genotypes(world, done) == undisturbed
    assert DERIVING not in done.progress.report


def test_a_pause_stops_a_derivation_and_a_resume_goes_on_with_it(world: WorkerWorld, undisturbed: list[Any]) -> None:
    search = world.search(**SPEC)
    job, lease = until_deriving(world)
    world.searches.pause(search.id)
    assert world.searches.get_search(search.id).state is SearchState.DRAINING
    assert world.dispatch.get(job.id).cancel_requested
    world.handlers[JobKind.DERIVE](job, lease, stop_after(6))
    world.dispatch.give_back(lease, "told to stop")
    assert world.dispatch.get(job.id).state is JobState.CANCELLED
    assert world.searches.get_search(search.id).state is SearchState.PAUSED
    assert world.run() == 0
    world.searches.resume(search.id)
    world.run()
    done = world.searches.get_search(search.id)
    assert done.state is SearchState.COMPLETED, done.reason
    assert genotypes(world, done) == undisturbed
    steps = [event["step"] for event in work_events(world, search) if event["number"] == 0]
    assert len(steps) == len(set(steps))


def test_a_derivation_that_waits_is_dropped_by_a_pause_and_ordered_again(world: WorkerWorld) -> None:
    search = world.search(**SPEC)
    step = world.claim()
    assert step is not None
    world.do(step)
    assert world.searches.pause(search.id).state is SearchState.PAUSED
    assert world.claim() is None
    world.searches.resume(search.id)
    world.run()
    assert world.searches.get_search(search.id).state is SearchState.COMPLETED


def test_what_is_derived_while_a_pause_comes_is_kept(world: WorkerWorld, undisturbed: list[Any]) -> None:
    search = world.search(**SPEC)
    job, _ = until_deriving(world)
    world.searches.pause(search.id)
    world.do(job)  # it ends before it hears of the pause
    assert world.searches.get_search(search.id).state is SearchState.PAUSED
    assert world.dispatch.get(job.id).state is JobState.DONE
    world.searches.resume(search.id)
    world.run()
    done = world.searches.get_search(search.id)
    assert genotypes(world, done) == undisturbed
    assert next(event["step"] for event in work_events(world, search) if event["number"] == 0) < 10


def test_a_cancelled_search_takes_nothing_of_a_derivation(world: WorkerWorld) -> None:
    search = world.search(**SPEC)
    job, _ = until_deriving(world)
    world.searches.cancel(search.id)
    world.do(job)
    assert world.dispatch.get(job.id).state is JobState.CANCELLED
    done = world.searches.get_search(search.id)
    assert (done.state, world.candidates(search)) == (SearchState.CANCELLED, ())
    assert world.run() == 0


def test_the_next_derivation_runs_while_the_last_network_is_evaluated(world: WorkerWorld) -> None:
    search = world.search(**SPEC)
    job, _ = until_deriving(world)
    world.do(job)
    step = world.claim()
    assert step is not None
    world.do(step)
    assert len(world.candidates(search)) == 1
    waiting = world.claim()
    assert waiting is not None
    assert (waiting.kind, waiting.payload["number"]) == (JobKind.DERIVE, 1)


def test_a_budget_of_one_candidate_derives_once(world: WorkerWorld) -> None:
    search = world.ran(**SPEC, budget={"num_candidates": 1})
    assert (search.state, search.reason) == (SearchState.COMPLETED, "budget used up")
    assert len(world.report(search, "derived")) == 1
