"""Leases, fences and results: what is lost, late, doubled or poisoned, over real databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from nas_engine.domain.measurement import Dtype, HardwareKey, Validity, ValidityFlag
from server.artifacts.files import FileByteStore
from server.candidates.search import Search
from server.candidates.states import CandidateState
from server.core.errors import InvalidValueError, LeaseLostError
from server.core.paging import PageRequest
from server.fleet.device import DeviceState
from server.fleet.sessions import ReturnedLease, RunningLease, SessionState
from server.jobs.failures import Failure
from server.jobs.job import Job, LeaseRef
from server.jobs.queue import JobStore
from server.jobs.results import ResultStatus
from server.jobs.states import JobKind, JobPhase, JobState, LeaseOutcome
from server.measuring.measurement import MeasurementQuery
from tests.support.databases import TestDatabase
from tests.support.service_world import (
    IDENTITY,
    PlayedDevice,
    World,
    lease_of,
    measurement,
    put_measurement,
    result_digest,
)

EVERYTHING = MeasurementQuery(include_superseded=True, include_suspect=True)


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def measuring(world: World, num_candidates: int = 1, **changes: object) -> Search:
    """A search whose measuring jobs are queued."""
    search = world.search(
        budget={"num_candidates": num_candidates}, algorithm={"kind": "random", "batch_size": num_candidates}, **changes
    )
    world.worker.run()
    return search


def taken(device: PlayedDevice) -> Job:
    job = device.take()
    assert job is not None
    return job


def lost(world: World, job: Job) -> None:
    world.database.kill_lease(job.id)
    world.dispatch.sweep()
    world.database.skip_backoff()


def test_an_agent_must_accept_a_lease_or_loses_it_at_no_cost(world: World) -> None:
    device = world.enrol()
    measuring(world)
    (job,) = device.sync().assignments
    assert (job.attempt, job.accepted) == (1, False)
    lost(world, job)
    again = taken(device)
    assert (again.id, again.attempt) == (job.id, 1)
    assert lease_of(again).lease_epoch == lease_of(job).lease_epoch + 1


def test_a_renewal_accepts_and_names_the_phase(world: World) -> None:
    device = world.enrol()
    measuring(world)
    (job,) = device.sync().assignments
    (verdict,) = world.sessions.renew(device.id, (RunningLease(lease=lease_of(job), phase=JobPhase.WARMUP),))
    assert verdict.order is LeaseOrder.CONTINUE
    stored = world.dispatch.get(job.id)
    assert (stored.accepted, stored.phase) == (True, JobPhase.WARMUP)


def test_a_live_lease_survives_a_sweep(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    assert world.dispatch.sweep().num_requeued == 0
    assert world.dispatch.get(job.id).state is JobState.LEASED


def test_a_renewal_of_a_lost_lease_says_so(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    lost(world, job)
    orders = device.sync(free_slots=0, running=(RunningLease(lease=lease_of(job)),))
    assert [verdict.order for verdict in orders.verdicts] == [LeaseOrder.LOST]
    with pytest.raises(LeaseLostError):
        world.dispatch.renew(lease_of(job))


def test_a_forged_lease_renews_nothing(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    forged = LeaseRef(job.id, "lease_00000000000000000000000000", lease_of(job).lease_epoch)
    with pytest.raises(LeaseLostError):
        world.dispatch.renew(forged)
    assert device.measure(replace(job, lease_id=forged.lease_id)).status is ResultStatus.REJECTED


def test_a_late_result_counts_while_nobody_else_has_the_job(world: World) -> None:
    device = world.enrol()
    search = measuring(world)
    job = taken(device)
    lost(world, job)
    assert device.measure(job).status is ResultStatus.ACCEPTED
    assert world.states(search) == [CandidateState.COMPLETE]
    assert device.take() is None


def test_a_late_result_after_a_new_lease_is_kept_but_steers_nothing(world: World) -> None:
    slow, fast = world.enrol("slow"), world.enrol("fast")
    search = measuring(world)
    late = taken(slow)
    lost(world, late)
    current = taken(fast)
    receipt = slow.measure(late, latency_us=9999.0)
    assert receipt.status is ResultStatus.SUPERSEDED
    assert world.states(search) == [CandidateState.EVALUATING]
    fast.measure(current, latency_us=50.0)
    assert world.candidates(search)[0].latency_us == 50.0
    assert world.latencies.count_measurements(EVERYTHING) == 2
    assert world.latencies.count_measurements(MeasurementQuery()) == 1
    assert slow.measure(late, latency_us=9999.0).status is ResultStatus.DUPLICATE


def test_a_repeated_result_is_taken_once(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    first, second = device.measure(job), device.measure(job)
    assert (first.status, second.status) == (ResultStatus.ACCEPTED, ResultStatus.DUPLICATE)
    assert first.record_id == second.record_id
    assert world.latencies.count_measurements(EVERYTHING) == 1


def test_another_result_for_the_same_lease_is_refused(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    device.measure(job, latency_us=50.0)
    assert device.measure(job, latency_us=60.0).status is ResultStatus.REJECTED
    assert world.latencies.count_measurements(EVERYTHING) == 1


def test_a_result_for_somebody_elses_lease_is_refused(world: World) -> None:
    mine, other = world.enrol("mine"), world.enrol("other")
    measuring(world)
    job = taken(mine)
    assert other.measure(job).status is ResultStatus.REJECTED
    assert world.dispatch.get(job.id).state is JobState.LEASED


def test_a_result_measured_under_another_hardware_key_is_kept_as_evidence_and_not_under_that_key(
    world: World,
) -> None:
    device = world.enrol()
    search = measuring(world)
    job = taken(device)
    other = replace(IDENTITY, clocks_profile="pinned-max")
    receipt = device.measure(job, identity=other)
    assert receipt.status is ResultStatus.ACCEPTED
    assert "another" not in receipt.reason
    assert world.states(search) == [CandidateState.EVALUATING]
    assert world.dispatch.get(job.id).failure_type is FailureType.INVALID_RESULT
    sent, enrolled = (HardwareKey(identity=one, dtype=Dtype.FP32).digest for one in (other, IDENTITY))
    assert world.latencies.count_measurements(replace(EVERYTHING, hardware_key=sent)) == 0
    assert world.latencies.count_measurements(MeasurementQuery(hardware_key=enrolled)) == 0
    (evidence,) = world.latencies.page_of_measurements(
        replace(EVERYTHING, hardware_key=enrolled), PageRequest(10)
    ).items
    assert (evidence.id, evidence.suspect) == (receipt.record_id, True)


def test_raw_samples_are_kept(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    receipt = device.measure(job, latency_us=123.0)
    assert receipt.record_id is not None
    assert tuple(world.latencies.samples_of_measurement(receipt.record_id)) == measurement(123.0).blocks


def test_a_job_fails_after_its_last_attempt_and_says_why(world: World) -> None:
    device = world.enrol()
    search = measuring(world)
    for _ in range(3):
        lost(world, taken(device))
    job = world.uow.read(lambda tx: JobStore(tx).active_jobs_of_search(search.id))
    assert job == () or job[0].kind is JobKind.SEARCH_STEP
    candidate = world.candidates(search)[0]
    assert candidate.state is CandidateState.FAILED
    assert "lease_lost" in candidate.reason


def test_an_agent_that_loses_a_job_twice_is_not_given_it_again(world: World) -> None:
    flaky, other = world.enrol("flaky"), world.enrol("other")
    measuring(world)
    for _ in range(2):
        lost(world, taken(flaky))
    assert flaky.take() is None
    assert other.take() is not None


def test_the_only_agent_is_given_a_job_again(world: World) -> None:
    only = world.enrol()
    measuring(world)
    for _ in range(2):
        lost(world, taken(only))
    assert only.take() is not None


def test_a_model_that_two_devices_blame_is_infeasible(world: World) -> None:
    one, two = world.enrol("one"), world.enrol("two")
    search = measuring(world)
    one.fail(taken(one), FailureType.RUNTIME_CRASHED, "killed by signal 11")
    world.database.skip_backoff()
    two.fail(taken(two), FailureType.RUNTIME_CRASHED, "killed by signal 11")
    candidate = world.candidates(search)[0]
    assert candidate.state is CandidateState.INFEASIBLE
    assert "signal 11" in candidate.reason
    assert world.devices.get(one.id).state is DeviceState.ACTIVE


def test_a_device_that_three_jobs_blame_is_quarantined(world: World) -> None:
    bad = world.enrol("bad")
    measuring(world, num_candidates=3)
    for _ in range(3):
        bad.fail(taken(bad), FailureType.AGENT_FAULT, "disk full")
    device = world.devices.get(bad.id)
    assert device.state is DeviceState.QUARANTINED
    assert "disk full" in device.reason
    world.database.skip_backoff()
    assert bad.sync().session is SessionState.PAUSED
    world.devices.set_state(bad.id, DeviceState.ACTIVE, "disk replaced")
    assert bad.take() is not None


def test_a_good_result_forgives_a_device(world: World) -> None:
    device = world.enrol()
    measuring(world, num_candidates=3)
    device.fail(taken(device), FailureType.AGENT_FAULT)
    device.measure(taken(device))
    assert world.devices.get(device.id).num_failures_in_a_row == 0


def test_a_degraded_measurement_is_kept_and_done_again(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    device.measure(job, flags=(ValidityFlag(Validity.DEGRADED_DEVICE, "canary 1.3"),))
    assert world.dispatch.get(job.id).state is JobState.QUEUED
    assert world.latencies.count_measurements(EVERYTHING) == 1


def test_a_given_back_lease_costs_no_attempt(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    returned = ReturnedLease(lease=lease_of(job), failure=Failure(FailureType.AGENT_SHUTDOWN, "SIGTERM"))
    device.sync(free_slots=0, returned=(returned,), leaving=True)
    stored = world.dispatch.get(job.id)
    assert (stored.state, stored.attempt) == (JobState.QUEUED, 0)
    (record,) = world.dispatch.history(job.id)
    assert record.outcome is LeaseOutcome.NACKED


def test_a_restarted_agent_that_has_nothing_to_send_frees_its_job_at_once(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    device.instance_epoch = 2
    device.sync(free_slots=0)
    assert world.dispatch.get(job.id).state is JobState.QUEUED


def test_a_restarted_agent_with_a_spooled_result_keeps_its_job_and_hands_it_in(world: World) -> None:
    device = world.enrol()
    search = measuring(world)
    job = taken(device)
    device.instance_epoch = 2
    device.sync(free_slots=0, num_spooled_results=1)
    assert world.dispatch.get(job.id).state is JobState.LEASED
    assert device.measure(job).status is ResultStatus.ACCEPTED
    assert world.states(search) == [CandidateState.COMPLETE]


def test_an_older_instance_is_told_that_it_was_taken_over(world: World) -> None:
    device = world.enrol()
    measuring(world)
    device.sync(free_slots=0, instance_epoch=5)
    assert device.sync().session is SessionState.TAKEN_OVER


def test_two_hosts_with_one_identity_are_quarantined(world: World) -> None:
    device = world.enrol()
    measuring(world)
    orders = device.sync(boot_id="boot-of-another-host")
    assert orders.session is SessionState.PAUSED
    assert orders.assignments == ()
    assert world.devices.get(device.id).state is DeviceState.QUARANTINED


def test_a_draining_device_finishes_and_takes_no_more(world: World) -> None:
    device = world.enrol()
    measuring(world, num_candidates=2)
    job = taken(device)
    world.devices.set_state(device.id, DeviceState.DRAINING, "maintenance")
    orders = device.sync(running=(RunningLease(lease=lease_of(job)),))
    assert orders.session is SessionState.DRAINING
    assert [verdict.order for verdict in orders.verdicts] == [LeaseOrder.DRAIN]
    assert orders.assignments == ()
    assert device.measure(job).status is ResultStatus.ACCEPTED


def test_a_reserved_device_takes_no_jobs(world: World) -> None:
    device = world.enrol()
    measuring(world)
    until = world.uow.read(lambda tx: tx.now()) + timedelta(hours=1)
    world.devices.reserve(device.id, "ada", until)
    assert device.sync().session is SessionState.PAUSED
    world.devices.release(device.id)
    assert device.take() is not None


def test_a_cancelled_job_is_told_to_its_holder(world: World) -> None:
    device = world.enrol()
    search = measuring(world)
    job = taken(device)
    world.searches.cancel(search.id)
    (verdict,) = world.sessions.renew(device.id, (RunningLease(lease=lease_of(job)),))
    assert verdict.order is LeaseOrder.CANCEL
    device.fail(job, FailureType.CANCELLED, "stopped while warming up")
    assert world.dispatch.get(job.id).state is JobState.CANCELLED


def test_a_failure_that_was_sent_twice_counts_once(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    statuses = [device.fail(job, FailureType.RUN_FAILED).status for _ in range(2)]
    assert statuses == [ResultStatus.ACCEPTED, ResultStatus.DUPLICATE]
    assert world.dispatch.get(job.id).attempt == 1


def test_jobs_go_to_devices_that_offer_the_hardware(world: World) -> None:
    other = world.enrol("other", identity=replace(IDENTITY, board_model="Another board"))
    right = [world.enrol("one"), world.enrol("two")]  # the majority decides what a search resolves to
    search = measuring(world)
    assert world.latencies.hardware(str(search.hardware_key)).identity == IDENTITY
    assert other.take() is None
    assert right[0].take() is not None


def test_jobs_go_to_devices_that_carry_the_labels(world: World) -> None:
    plain, labelled = world.enrol("plain"), world.enrol("labelled", labels={"rack": "b"})
    measuring(world, device={"device_type": "testboard", "labels": {"rack": "b"}})
    assert plain.take() is None
    assert labelled.take() is not None


def test_higher_priority_goes_first_then_age(world: World) -> None:
    device = world.enrol()
    low = measuring(world, priority=0)
    high = measuring(
        world,
        priority=5,
        space={"id": "toy", "parameters": {"num_classes": 10}},
        measurement={"validity_policy": "accept_flagged", "profile": "standard"},
    )
    assert taken(device).search_id == high.id
    assert taken(device).search_id == low.id


def test_a_failed_canary_degrades_the_device_and_makes_its_recent_results_suspect(world: World) -> None:
    device = world.enrol()
    search = measuring(world, num_candidates=2)
    canary = {"pool_key": "1" * 64, "artifact_sha256": "0" * 64, "median_us": 100.0}
    device.measure(taken(device))
    world.record_canary(device.id, **canary, ratio=1.0, passed=True)  # type: ignore[arg-type]
    device.measure(taken(device))
    assert world.record_canary(device.id, **canary, ratio=1.3, passed=False, reason="30 % slow") == 1  # type: ignore[arg-type]
    assert world.devices.get(device.id).state is DeviceState.DEGRADED
    assert world.latencies.count_measurements(MeasurementQuery(search_id=search.id)) == 1
    world.record_canary(device.id, **canary, ratio=1.0, passed=True)  # type: ignore[arg-type]
    assert world.devices.get(device.id).state is DeviceState.ACTIVE


def test_digests_of_results_are_checked(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    measured = measurement(100.0)
    assert len(result_digest(job, measured)) == 64
    with pytest.raises(InvalidValueError):
        put_measurement(world.results, device.id, lease_of(job), measured, "nonsense")
