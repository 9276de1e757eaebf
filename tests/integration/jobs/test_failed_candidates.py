"""A candidate that fails takes its other work along: nobody computes what nobody will be told."""

from __future__ import annotations

from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from server.candidates.search import Search
from server.candidates.states import CandidateState, SearchState
from server.core.paging import PageRequest
from server.jobs.failures import Failure
from server.jobs.job import Job, JobQuery
from server.jobs.states import JobKind, JobState
from tests.support.worlds.service_world import World, lease_of

BOTH = [{"metric": "top1"}, {"metric": "latency_us"}]


def started(world: World) -> Search:
    supernet = world.ready_supernet()
    search = world.search(objectives=BOTH, supernet=supernet.id, budget={"num_candidates": 1})
    world.worker.run((JobKind.SEARCH_STEP,))
    return search


def job_of(world: World, search: Search, kind: JobKind) -> Job:
    (job,) = world.dispatch.page(JobQuery(search_id=search.id, kinds=(kind,)), PageRequest(100)).items
    return job


def fail_conversion(world: World) -> None:
    job = world.dispatch.claim("worker-2", (JobKind.CONVERT,))
    assert job is not None
    world.dispatch.fail(lease_of(job), Failure(FailureType.CONVERT_FAILED, "no such operator"))


def test_a_queued_evaluation_of_a_failed_candidate_is_cancelled(world: World) -> None:
    world.enrol()
    search = started(world)
    fail_conversion(world)
    (candidate,) = world.candidates(search)
    assert candidate.state is CandidateState.INFEASIBLE
    assert job_of(world, search, JobKind.EVALUATE).state is JobState.CANCELLED


def test_a_running_evaluation_of_a_failed_candidate_is_told_to_stop(world: World) -> None:
    world.enrol()
    search = started(world)
    evaluating = world.dispatch.claim("worker-1", (JobKind.EVALUATE,))
    assert evaluating is not None
    fail_conversion(world)
    assert world.dispatch.renew(lease_of(evaluating)).order is LeaseOrder.CANCEL
    stopped = Failure(FailureType.CANCELLED, "told to stop")
    assert world.dispatch.fail(lease_of(evaluating), stopped) is JobState.CANCELLED
    world.worker.run()
    assert world.searches.get_search(search.id).state is SearchState.COMPLETED


def test_a_measurement_that_another_search_waits_for_goes_on_for_that_one(world: World) -> None:
    device = world.enrol()
    first = started(world)
    second = world.search(budget={"num_candidates": 1})
    world.worker.run((JobKind.SEARCH_STEP, JobKind.CONVERT))
    evaluating = world.dispatch.claim("worker-1", (JobKind.EVALUATE,))
    assert evaluating is not None
    world.dispatch.fail(lease_of(evaluating), Failure(FailureType.INVALID_INPUT, "no such images"))
    (failed,) = world.candidates(first)
    assert failed.state is CandidateState.FAILED
    assert job_of(world, second, JobKind.MEASURE).state is JobState.QUEUED
    assert device.run() == 1
    (measured,) = world.candidates(second)
    assert measured.state is CandidateState.COMPLETE
