"""A shift under way while boards measure: latencies and accuracies arrive in any order, and wait for each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.metrics import LATENCY_US, TOP1
from server.artifacts.files import FileByteStore
from server.candidates.candidate import HeldOutAccuracy
from server.candidates.search import Search
from server.candidates.states import CandidateState
from server.core.errors import InvalidValueError
from server.core.paging import PageRequest
from server.jobs.failures import Failure
from server.jobs.job import Job, JobQuery
from server.jobs.states import JobKind
from server.searches.steps.long_jobs import LongJobs
from server.searches.steps.shifts import ShiftedVersion, ShiftInput, ShiftOutcome, Shifts
from server.searches.steps.step import ShiftOrder
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import PlayedDevice, World, lease_of

IMMEDIATE = {"mode": "immediate"}


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> World:
    return World(sqlite_database, FileByteStore(tmp_path / "artifacts"))


def started(world: World, **shifting: str) -> tuple[Search, PlayedDevice]:
    """A search that has asked three candidates and ordered a shift towards them."""
    device, supernet = world.enrol(), world.ready_supernet()
    search = world.search(
        objectives=[{"metric": "top1"}, {"metric": "latency_us"}],
        supernet=supernet.id,
        algorithm={"kind": "nsga2", "population_size": 3},
        shifting=shifting,
    )
    lease = lease_of(claimed(world, JobKind.SEARCH_STEP))
    world.steps.commit(lease, replace(world.worker.outcome(lease), work=ShiftOrder()))
    return search, device


def claimed(world: World, kind: JobKind) -> Job:
    job = world.dispatch.claim("worker-1", (kind,))
    assert job is not None
    return job


def jobs(world: World, search: Search, kind: JobKind) -> tuple[Job, ...]:
    return world.dispatch.page(JobQuery(search_id=search.id, kinds=(kind,)), PageRequest(100)).items


def shift_job(world: World) -> tuple[Shifts, Job, ShiftInput]:
    shifts, job = Shifts(world.uow, LongJobs(world.uow)), claimed(world, JobKind.SHIFT)
    return shifts, job, shifts.load(lease_of(job))


def shifted(world: World, *accuracies: HeldOutAccuracy | None) -> ShiftOutcome:
    """One version for each accuracy, or one without."""
    stored = [world.artifacts.put(f"weights {n}".encode(), "x/y").sha256 for n, _ in enumerate(accuracies)]
    versions = [ShiftedVersion(weights_sha256=s, accuracy=a) for s, a in zip(stored, accuracies, strict=True)]
    return ShiftOutcome(versions=tuple(versions), state_sha256=stored[0], report={"shift": 1})


def test_a_latency_that_comes_first_completes_nothing_until_the_shift_and_the_accuracy_are_there(world: World) -> None:
    search, device = started(world)
    assert {j.payload["weights"] for j in jobs(world, search, JobKind.CONVERT)} == {"random"}
    world.worker.run((JobKind.CONVERT,))
    device.run()
    assert all(c.value(LATENCY_US) is not None and not c.state.final for c in world.candidates(search))
    assert jobs(world, search, JobKind.EVALUATE) == ()
    shifts, job, given = shift_job(world)
    shifts.commit(lease_of(job), given.payload, shifted(world, None))
    assert CandidateState.COMPLETE not in world.states(search)
    world.worker.run((JobKind.EVALUATE,))
    assert world.states(search) == [CandidateState.COMPLETE] * 3
    assert len(jobs(world, search, JobKind.SEARCH_STEP)) == 2


def test_a_candidate_that_its_board_refuses_meanwhile_is_not_scored_again(world: World) -> None:
    search, device = started(world, **IMMEDIATE)
    refused = claimed(world, JobKind.CONVERT)
    world.dispatch.fail(lease_of(refused), Failure(FailureType.CONVERT_FAILED, "no such operator"))
    shifts, job, given = shift_job(world)
    assert len(given.architectures) == 3, "it was sampled: the weights move towards it all the same"
    taken = [HeldOutAccuracy(top1=top1, num_images=100) for top1 in (0.1, 0.2, 0.3)]
    shifts.commit(lease_of(job), given.payload, shifted(world, *taken))
    scored = {j.candidate_id for j in jobs(world, search, JobKind.EVALUATE)}
    first, second, last = world.candidates(search)
    assert first.id == refused.candidate_id
    assert scored == {second.id}, "the first is over, the last has its accuracy already"
    assert (first.state, last.value(TOP1)) == (CandidateState.INFEASIBLE, 0.3)
    world.worker.run((JobKind.CONVERT, JobKind.EVALUATE))
    device.run()
    assert world.states(search) == [CandidateState.INFEASIBLE, CandidateState.COMPLETE, CandidateState.COMPLETE]
    assert len(jobs(world, search, JobKind.SEARCH_STEP)) == 2


def test_versions_that_do_not_fit_the_candidates_are_refused(world: World) -> None:
    search, _ = started(world, **IMMEDIATE)
    shifts, job, given = shift_job(world)
    with pytest.raises(InvalidValueError, match="2 versions of 3 candidates"):
        shifts.commit(lease_of(job), given.payload, shifted(world, HeldOutAccuracy(top1=0.1, num_images=1), None))
    assert jobs(world, search, JobKind.EVALUATE) == ()
