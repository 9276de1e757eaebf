"""Results against their leases: late, repeated, forged or under another key, over real databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Dtype, HardwareKey, decompress_blocks
from nas_engine.domain.metrics import LATENCY_US
from server.candidates.states import CandidateState
from server.core.errors import InvalidValueError
from server.core.paging import PageRequest
from server.jobs.results import ResultStatus
from server.jobs.states import JobState
from server.measuring.measurement import MeasurementQuery
from tests.integration.jobs.leasing import EVERYTHING, lost, measuring, taken
from tests.support.worlds.service_world import (
    IDENTITY,
    World,
    lease_of,
    measurement,
    put_measurement,
    result_digest,
)


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
    assert world.candidates(search)[0].value(LATENCY_US) == 50.0
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
    assert decompress_blocks(world.latencies.packed_samples_of(receipt.record_id) or b"") == measurement(123.0).blocks


def test_digests_of_results_are_checked(world: World) -> None:
    device = world.enrol()
    measuring(world)
    job = taken(device)
    measured = measurement(100.0)
    assert len(result_digest(job, measured)) == 64
    with pytest.raises(InvalidValueError):
        put_measurement(world.results, device.id, lease_of(job), measured, "nonsense")
