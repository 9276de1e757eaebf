"""Leases: accepted, renewed, lost, given back, and who is given a job, over real databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from server.candidates.states import CandidateState
from server.core.errors import LeaseLostError
from server.fleet.device import DeviceState
from server.fleet.sessions import ReturnedLease, RunningLease, SessionState
from server.jobs.failures import Failure
from server.jobs.job import LeaseRef
from server.jobs.results import ResultStatus
from server.jobs.states import JobPhase, JobState, LeaseOutcome
from tests.integration.jobs.leasing import lost, measuring, taken
from tests.support.worlds.service_world import (
    IDENTITY,
    World,
    lease_of,
)


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
