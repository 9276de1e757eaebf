"""Workers that die over what a package brings: its search ends with the package's name, and others lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType
from server.candidates.states import SearchState
from server.jobs.job import Job
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobState
from tests.integration.plugins.test_versions import CLIMB, install
from tests.support.packages import find_packages, forget
from tests.support.worlds.brought_metrics import brought_metrics
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import EVALUATION, WorkerWorld


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    folder = tmp_path / "packages"
    folder.mkdir()
    install(folder, "1.0")
    find_packages(monkeypatch, folder)
    yield
    forget()


def died(world: WorkerWorld, *held: Job) -> None:
    """The worker that holds these jobs is gone, and its leases have run out."""
    for job in held:
        world.database.kill_lease(job.id)
    world.dispatch.sweep()
    world.database.skip_backoff()


def claimed(world: WorkerWorld) -> Job:
    job = world.claim()
    assert job is not None
    return job


def test_a_search_ends_after_three_deaths_over_what_a_package_brings(database: TestDatabase, tmp_path: Path) -> None:
    world = WorkerWorld(database, tmp_path)
    search = world.search(algorithm=CLIMB)
    for _ in range(2):
        died(world, claimed(world))
        assert world.searches.get_search(search.id).state is SearchState.RUNNING
    died(world, claimed(world))
    failed = world.searches.get_search(search.id)
    assert failed.state is SearchState.FAILED
    said = "3 times the worker died, or hung, while it ran hill_climb of hilnas-hill-climb 1.0 (hilnas.algorithms)"
    assert said in failed.reason
    assert world.claim() is None


def test_deaths_that_are_not_in_a_row_end_nothing(database: TestDatabase, tmp_path: Path) -> None:
    world = WorkerWorld(database, tmp_path)
    search = world.search(algorithm=CLIMB)
    while (job := world.claim()) is not None:
        if job.kind is JobKind.SEARCH_STEP:
            died(world, job)
            job = claimed(world)
        world.do(job)
    assert world.searches.get_search(search.id).state is SearchState.COMPLETED


def test_what_dies_beside_it_loses_no_attempt(database: TestDatabase, tmp_path: Path) -> None:
    world = WorkerWorld(database, tmp_path)
    brings = world.search(algorithm=CLIMB)
    other = world.search()
    held = [claimed(world), claimed(world)]
    assert {job.search_id for job in held} == {brings.id, other.id}
    died(world, *held)
    (own,) = world.uow.read(lambda tx: JobStore(tx).active_jobs_of_search(brings.id))
    (beside,) = world.uow.read(lambda tx: JobStore(tx).active_jobs_of_search(other.id))
    assert (own.state, own.attempt, own.failure_type) == (JobState.QUEUED, 1, FailureType.LEASE_LOST)
    assert (beside.state, beside.attempt, beside.failure_type) == (JobState.QUEUED, 0, FailureType.AGENT_SHUTDOWN)
    assert "hilnas-hill-climb 1.0" in beside.failure_message


def test_a_death_without_anything_brought_costs_an_attempt_as_ever(database: TestDatabase, tmp_path: Path) -> None:
    world = WorkerWorld(database, tmp_path)
    search = world.search()
    for _ in range(3):
        died(world, claimed(world))
    (job,) = world.uow.read(lambda tx: JobStore(tx).active_jobs_of_search(search.id))
    assert (job.state, job.attempt) == (JobState.QUEUED, 3)


def test_a_search_ends_after_three_candidates_killed_a_worker_each(
    database: TestDatabase, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with brought_metrics(tmp_path_factory.mktemp("metrics")):
        world = WorkerWorld(database, tmp_path)
        search = world.search(
            objectives=[{"metric": "spread"}, {"metric": "macs"}],
            supernet=world.ready_supernet().id,
            evaluation=EVALUATION,
            algorithm={"kind": "random", "batch_size": 4},
            budget={"num_candidates": 4},
        )
        world.do(claimed(world))
        died_over = set()
        for _ in range(3):
            assert world.searches.get_search(search.id).state is SearchState.RUNNING
            job = claimed(world)
            assert job.kind is JobKind.EVALUATE
            died_over.add(job.id)
            world.database.kill_lease(job.id)
            world.dispatch.sweep()  # it waits before its next attempt: another candidate's turn comes first
        assert len(died_over) == 3
        failed = world.searches.get_search(search.id)
        assert failed.state is SearchState.FAILED
        assert "an evaluation failed" in failed.reason
        assert "spread of brought-metrics 1.2.3 (hilnas.metrics)" in failed.reason
        assert world.claim() is None
