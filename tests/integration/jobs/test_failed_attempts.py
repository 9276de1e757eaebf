"""Failed attempts: what they cost the job, the model and the device, over real databases."""

from __future__ import annotations

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Validity, ValidityFlag
from server.candidates.states import CandidateState
from server.fleet.device import DeviceState
from server.fleet.sessions import SessionState
from server.jobs.queue import JobStore
from server.jobs.results import ResultStatus
from server.jobs.states import JobKind, JobState
from server.measuring.measurement import MeasurementQuery
from tests.integration.jobs.leasing import EVERYTHING, lost, measuring, taken
from tests.support.worlds.service_world import (
    World,
)


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


def test_one_job_that_fails_again_and_again_counts_once_against_its_device(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    device.fail(job, FailureType.INIT_FAILED, "the engine cannot load it")
    for _ in range(2):
        world.database.skip_backoff()
        again = taken(device)
        assert again.id == job.id
        device.fail(again, FailureType.INIT_FAILED, "the engine cannot load it")
    found = world.devices.get(device.id)
    assert (found.state, found.num_failures_in_a_row) == (DeviceState.ACTIVE, 1)


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


def test_a_failure_that_was_sent_twice_counts_once(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    statuses = [device.fail(job, FailureType.RUN_FAILED).status for _ in range(2)]
    assert statuses == [ResultStatus.ACCEPTED, ResultStatus.DUPLICATE]
    assert world.dispatch.get(job.id).attempt == 1


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
