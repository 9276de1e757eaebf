"""A search from its spec to its front, over real databases, with a worker and devices played call by call."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Validity, ValidityFlag
from nas_engine.domain.metrics import LATENCY_US, TOP1
from server.artifacts.files import FileByteStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.states import CandidateState, EvaluationSource, SearchState
from server.core.errors import InvalidSpecError, InvalidStateTransitionError, LeaseLostError
from server.core.event_type import EventType
from server.core.events import EventQuery, EventStore
from server.core.paging import PageRequest
from server.jobs.failures import Failure
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobState
from server.measuring.measurement import MeasurementQuery
from server.searches.amending.amendment import SearchAmendment
from server.searches.steps.step import StepVerdict
from server.training.spec import parse_training_spec
from server.training.supernets import NewVersion
from server.training.training import TrainingState
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import TRAINING, World, job_states, lease_of, run_to_end


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def num_measurements(world: World) -> int:
    return world.latencies.count_measurements(MeasurementQuery(include_superseded=True, include_suspect=True))


def test_a_search_ends_with_exactly_its_budget(world: World) -> None:
    device = world.enrol()
    search = run_to_end(world, device, world.search())
    assert search.state is SearchState.COMPLETED
    assert world.states(search) == [CandidateState.COMPLETE] * 6
    assert [c.seq for c in world.candidates(search)] == [1, 2, 3, 4, 5, 6]
    assert [c.told_seq for c in world.candidates(search)] == [2, 2, 2, 3, 3, 3]
    assert (search.progress.num_asked, search.progress.num_complete) == (6, 6)
    assert all(state is JobState.DONE for _, state in job_states(world, search))


def test_the_next_step_waits_for_the_whole_generation(world: World) -> None:
    device, search = world.enrol(), world.search()
    world.worker.run()
    for _ in range(2):
        job = device.take()
        assert job is not None
        device.measure(job)
        assert world.dispatch.claim("w", (JobKind.SEARCH_STEP,)) is None
    last = device.take()
    assert last is not None
    device.measure(last)
    step = world.dispatch.claim("w", (JobKind.SEARCH_STEP,))
    assert step is not None
    assert step.search_id == search.id


def test_accuracy_and_latency_may_arrive_in_any_order(world: World) -> None:
    device, supernet = world.enrol(), world.ready_supernet()
    objectives = [{"metric": "top1"}, {"metric": "latency_us"}]
    search = world.search(objectives=objectives, supernet=supernet.id)
    world.worker.run((JobKind.SEARCH_STEP, JobKind.CONVERT))
    device.run()
    assert CandidateState.COMPLETE not in world.states(search)
    world.worker.run((JobKind.EVALUATE,))
    assert world.states(search) == [CandidateState.COMPLETE] * 3
    search = run_to_end(world, device, search)
    assert search.state is SearchState.COMPLETED
    assert all(c.value(TOP1) is not None and c.value(LATENCY_US) is not None for c in world.candidates(search))


def test_a_second_search_measures_nothing_again(world: World) -> None:
    device = world.enrol()
    run_to_end(world, device, world.search())
    before = num_measurements(world)
    second = run_to_end(world, device, world.search())
    assert second.state is SearchState.COMPLETED
    assert num_measurements(world) == before
    assert second.progress.num_reused == 6
    candidate = world.candidates(second)[0]
    evaluations = world.uow.read(lambda tx: EvaluationStore(tx).evaluations_of_candidates([candidate.id]))
    assert [e.source for e in evaluations] == [EvaluationSource.REUSED]


def test_without_reuse_everything_is_measured_again(world: World) -> None:
    device = world.enrol()
    run_to_end(world, device, world.search())
    before = num_measurements(world)
    measuring = {"validity_policy": "accept_flagged", "profile": "quick", "reuse": False}
    run_to_end(world, device, world.search(measurement=measuring))
    assert num_measurements(world) == 2 * before


def test_searches_that_want_the_same_number_share_one_job(world: World) -> None:
    device = world.enrol()
    first, second = world.search(), world.search()
    world.worker.run()
    assert device.run() == 3
    assert world.states(first) == world.states(second) == [CandidateState.COMPLETE] * 3


def test_cancelling_one_search_leaves_the_shared_jobs_to_the_other(world: World) -> None:
    device = world.enrol()
    first, second = world.search(), world.search()
    world.worker.run()
    world.searches.cancel(first.id)
    assert device.run() == 3
    assert world.states(first) == [CandidateState.FAILED] * 3
    assert world.states(second) == [CandidateState.COMPLETE] * 3


def test_a_cancelled_search_stops_its_jobs(world: World) -> None:
    device, search = world.enrol(), world.search()
    world.worker.run()
    leased = device.take()
    assert leased is not None
    cancelled = world.searches.cancel(search.id)
    assert cancelled.state is SearchState.CANCELLED
    assert device.sync().assignments == ()
    # What was measured meanwhile is kept, but steers nothing.
    receipt = device.measure(leased)
    assert receipt.record_id is not None
    assert world.dispatch.get(leased.id).state is JobState.CANCELLED
    assert world.searches.cancel(search.id).state is SearchState.CANCELLED
    assert world.dispatch.claim("w") is None


def test_a_killed_worker_asks_the_same_candidates_again(world: World) -> None:
    world.enrol()
    search = world.search()
    lost = world.dispatch.claim("killed", (JobKind.SEARCH_STEP,))
    assert lost is not None
    outcome = world.worker.outcome(lease_of(lost))
    world.database.kill_lease(lost.id)
    assert world.dispatch.sweep().num_requeued == 1
    world.database.skip_backoff()
    again = world.dispatch.claim("second", (JobKind.SEARCH_STEP,))
    assert again is not None
    world.worker.step(lease_of(again))
    with pytest.raises(LeaseLostError):
        world.steps.commit(lease_of(lost), outcome)
    assert [c.genotype for c in world.candidates(search)] == [a.genotype for a in outcome.asked]
    assert world.searches.get_search(search.id).progress.num_asked == 3


def test_checkpoints_come_back_exactly(world: World) -> None:
    device = world.enrol()
    search = run_to_end(world, device, world.search())
    latest = world.searches.page_of_checkpoints(search.id, PageRequest(10)).items[0]
    assert latest.seq == search.checkpoint_seq
    assert isinstance(latest.payload, dict)
    assert latest.payload["huge"] == 2**100
    assert repr(latest.payload["float"]) == "1e+20"
    assert repr(latest.payload["zero"]) == "-0.0"


def test_a_paused_search_drains_and_goes_on_where_it_stopped(world: World) -> None:
    device, search = world.enrol(), world.search()
    world.worker.run()
    assert world.searches.pause(search.id).state is SearchState.DRAINING
    device.run()
    assert world.searches.get_search(search.id).state is SearchState.PAUSED
    assert world.dispatch.claim("w") is None
    assert world.searches.resume(search.id).state is SearchState.RUNNING
    assert run_to_end(world, device, search).state is SearchState.COMPLETED
    assert world.states(search) == [CandidateState.COMPLETE] * 6


def test_a_step_under_way_is_discarded_by_a_pause(world: World) -> None:
    device, search = world.enrol(), world.search()
    step = world.dispatch.claim("w", (JobKind.SEARCH_STEP,))
    assert step is not None
    world.searches.pause(search.id)
    assert world.worker.step(lease_of(step)) is StepVerdict.DISCARDED
    assert world.searches.get_search(search.id).state is SearchState.PAUSED
    assert world.candidates(search) == ()
    world.searches.resume(search.id)
    assert run_to_end(world, device, search).progress.num_complete == 6


def test_a_search_waits_for_its_inline_supernet(world: World) -> None:
    device = world.enrol()
    search = world.search(objectives=[{"metric": "top1"}, {"metric": "latency_us"}], supernet=TRAINING)
    assert search.state is SearchState.QUEUED
    job = world.dispatch.claim("trainer", (JobKind.TRAIN,))
    assert job is not None
    assert world.dispatch.claim("w", (JobKind.SEARCH_STEP,)) is None
    world.supernets.start_training(lease_of(job))
    weights = world.artifacts.put(b"trained", "application/octet-stream")
    world.supernets.finish_training(lease_of(job), NewVersion(weights_sha256=weights.sha256))
    assert run_to_end(world, device, search).state is SearchState.COMPLETED


def test_a_training_that_is_cancelled_after_its_last_step_publishes_nothing(world: World) -> None:
    supernet = world.supernets.create_supernet(parse_training_spec(TRAINING))
    job = world.dispatch.claim("trainer", (JobKind.TRAIN,))
    assert job is not None
    world.supernets.start_training(lease_of(job))
    weights = world.artifacts.put(b"trained", "application/octet-stream")
    world.supernets.cancel(supernet.id)
    assert world.supernets.finish_training(lease_of(job), NewVersion(weights_sha256=weights.sha256)) is None
    assert world.supernets.get_training(supernet.id).state is TrainingState.CANCELLED
    assert world.supernets.versions_of_supernet(supernet.id) == ()
    assert world.uow.read(lambda tx: JobStore(tx).get_job(job.id)).state is JobState.CANCELLED


def test_a_training_that_fails_for_good_fails_the_searches_that_wait(world: World) -> None:
    world.enrol()
    search = world.search(objectives=[{"metric": "top1"}], supernet=TRAINING)
    job = world.dispatch.claim("trainer", (JobKind.TRAIN,))
    assert job is not None
    world.dispatch.fail(lease_of(job), Failure(FailureType.INVALID_INPUT, "the images are gone"))
    ended = world.searches.get_search(search.id)
    assert ended.state is SearchState.FAILED
    assert "the images are gone" in ended.reason


def test_a_step_that_fails_for_good_fails_the_search(world: World) -> None:
    world.enrol()
    search = world.search()
    step = world.dispatch.claim("w", (JobKind.SEARCH_STEP,))
    assert step is not None
    world.dispatch.fail(lease_of(step), Failure(FailureType.INVALID_INPUT, "no genotype satisfies the constraints"))
    ended = world.searches.get_search(search.id)
    assert ended.state is SearchState.FAILED
    assert "no genotype satisfies" in ended.reason


def test_noisy_results_are_measured_again_where_validity_is_required(world: World) -> None:
    device = world.enrol()
    strict = {"validity_policy": "require", "profile": "quick", "max_attempts": 2}
    search = world.search(measurement=strict, budget={"num_candidates": 1})
    world.worker.run()
    noisy = (ValidityFlag(Validity.NOISY, "the interval did not close"),)
    first = device.take()
    assert first is not None
    device.measure(first, flags=noisy)
    assert world.dispatch.get(first.id).state is JobState.QUEUED
    world.database.skip_backoff()
    second = device.take()
    assert second is not None
    device.measure(second)
    assert world.states(search) == [CandidateState.COMPLETE]
    assert num_measurements(world) == 2


def test_noisy_results_are_used_and_flagged_where_that_is_accepted(world: World) -> None:
    device, search = world.enrol(), world.search(budget={"num_candidates": 1})
    world.worker.run()
    job = device.take()
    assert job is not None
    device.measure(job, flags=(ValidityFlag(Validity.NOISY, "the interval did not close"),))
    candidate = world.candidates(search)[0]
    assert candidate.state is CandidateState.COMPLETE
    assert candidate.current[LATENCY_US].flags == (Validity.NOISY,)


def test_a_candidate_whose_measurement_fails_for_good_is_reported_as_failed(world: World) -> None:
    device = world.enrol()
    measuring = {"validity_policy": "accept_flagged", "profile": "quick", "max_attempts": 1}
    search = world.search(measurement=measuring, budget={"num_candidates": 3})
    world.worker.run()
    job = device.take()
    assert job is not None
    device.fail(job, FailureType.THERMAL_TIMEOUT, "90 degrees")
    device.run()
    assert sorted(s.value for s in world.states(search)) == ["complete", "complete", "failed"]
    failed = next(c for c in world.candidates(search) if c.state is CandidateState.FAILED)
    assert "90 degrees" in failed.reason
    assert failed.value(LATENCY_US) is None
    assert run_to_end(world, device, search).state is SearchState.COMPLETED


def test_a_model_the_converter_refuses_makes_its_candidate_infeasible(world: World) -> None:
    world.enrol()
    search = world.search(budget={"num_candidates": 1})
    world.worker.run((JobKind.SEARCH_STEP,))
    job = world.dispatch.claim("w", (JobKind.CONVERT,))
    assert job is not None
    world.dispatch.fail(lease_of(job), Failure(FailureType.CONVERT_FAILED, "operator Resize"))
    candidate = world.candidates(search)[0]
    assert candidate.state is CandidateState.INFEASIBLE
    assert "operator Resize" in candidate.reason


def test_events_tell_the_whole_story_in_order(world: World) -> None:
    device = world.enrol()
    search = run_to_end(world, device, world.search())
    events = world.uow.read(lambda tx: EventStore(tx).events_after(0, EventQuery(search_id=search.id), 500))
    assert [e.id for e in events] == sorted({e.id for e in events})
    assert [e.payload["state"] for e in events if e.type is EventType.STATE] == ["running", "completed"]
    assert len([e for e in events if e.type is EventType.CANDIDATE]) == 6
    assert len([e for e in events if e.type is EventType.GENERATION]) == 3
    middle = events[4].id
    rest = world.uow.read(lambda tx: EventStore(tx).events_after(middle, EventQuery(search_id=search.id), 500))
    assert rest == events[5:]


def test_the_front_holds_the_feasible_best(world: World) -> None:
    device = world.enrol()
    search = run_to_end(world, device, world.search(constraints=[{"metric": "macs", "maximum": 11_500}]))
    front = world.fronts.of_search(search.id, with_dominated=True)
    assert front.num_complete == 6
    assert front.num_feasible == sum(1 for c in world.candidates(search) if (c.record.values["macs"] or 0) <= 11_500)
    assert all((point.record.values["macs"] or 0) <= 11_500 for point in front.points)
    assert len(front.points) + len(front.dominated) == 6
    latencies = [point.value(LATENCY_US) or 0 for point in front.points]
    assert latencies == sorted(latencies)
    assert front.hypervolume is not None
    assert front.hypervolume > 0


def test_amending_the_budget_lets_a_search_go_further(world: World) -> None:
    device, search = world.enrol(), world.search()
    world.worker.run()
    amended = world.searches.amend(search.id, SearchAmendment(num_candidates=8, labels={"team": "vision"}))
    assert amended.version > search.version
    ended = run_to_end(world, device, search)
    assert ended.progress.num_complete == 8
    assert ended.spec.labels == {"team": "vision"}
    with pytest.raises(InvalidStateTransitionError):
        world.searches.amend(search.id, SearchAmendment(num_candidates=9))


def test_a_budget_below_what_was_asked_is_refused(world: World) -> None:
    world.enrol()
    search = world.search()
    world.worker.run()
    with pytest.raises(InvalidSpecError, match="3 candidates were asked"):
        world.searches.amend(search.id, SearchAmendment(num_candidates=2))


def test_a_final_search_cannot_be_paused(world: World) -> None:
    device = world.enrol()
    search = run_to_end(world, device, world.search())
    with pytest.raises(InvalidStateTransitionError) as caught:
        world.searches.pause(search.id)
    assert caught.value.current == "completed"


def test_reconciling_replaces_a_lost_step(world: World) -> None:
    world.enrol()
    search = world.search()
    world.database.execute("DELETE FROM jobs")
    assert world.dispatch.reconcile().num_advanced == 1
    assert job_states(world, search) == [(JobKind.SEARCH_STEP, JobState.QUEUED)]
    assert world.dispatch.reconcile().num_advanced == 0
