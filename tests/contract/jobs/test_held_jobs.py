"""Jobs that a busy device holds ahead: kept, not begun, given to whoever is free first."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from server.artifacts.files import FileByteStore
from server.core.database.transaction import Transaction
from server.fleet.device import LOOK_AHEAD_FEATURE, DeviceState
from server.fleet.sessions import RunningLease
from server.jobs.dispatch import LeaseVerdict
from server.jobs.failures import Failure
from server.jobs.job import Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import LeaseSettings
from server.jobs.shares.turns import MAX_RUN
from server.jobs.states import JobKind, JobPhase, JobState, LeaseOutcome
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import PlayedDevice, World, lease_of

LEASES = LeaseSettings(accept_s=15.0)


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"), LEASES)


def queue(world: World, number: int) -> tuple[Job, ...]:
    def work(tx: Transaction) -> tuple[Job, ...]:
        return JobStore(tx).add_jobs([NewJob(kind=JobKind.MEASURE, payload={})] * number)

    return world.uow.write(work)


def enrol(world: World, name: str) -> PlayedDevice:
    """A device whose agent looks ahead."""
    device = world.enrol(name)
    capabilities = device.device.capabilities
    known = replace(capabilities, features=(*capabilities.features, LOOK_AHEAD_FEATURE))
    return replace(device, device=replace(device.device, capabilities=known))


def begin(device: PlayedDevice) -> Job:
    """Take a job and begin it."""
    (job,) = device.sync().assignments
    assert renew(device, job, JobPhase.FETCHING).order is LeaseOrder.CONTINUE
    return job


def hold(device: PlayedDevice, running: Job) -> Job:
    """Get another job while one runs."""
    (job,) = device.sync(running=(RunningLease(lease=lease_of(running), phase=JobPhase.MEASURING),)).assignments
    assert renew(device, job, JobPhase.ASSIGNED).order is LeaseOrder.CONTINUE
    return job


def renew(device: PlayedDevice, job: Job, phase: JobPhase) -> LeaseVerdict:
    (verdict,) = device.world.sessions.renew(device.id, (RunningLease(lease=lease_of(job), phase=phase),))
    return verdict


def test_what_is_held_is_kept_and_not_accepted_until_it_begins(world: World) -> None:
    queue(world, 2)
    device = enrol(world, "a")
    held = hold(device, begin(device))
    kept = world.dispatch.get(held.id)
    assert (kept.state, kept.accepted) == (JobState.LEASED, False)
    assert kept.lease_expires_at is not None
    assert held.lease_expires_at is not None
    assert kept.lease_expires_at - held.lease_expires_at > timedelta(seconds=LEASES.ttl_s - LEASES.accept_s - 5.0)
    (claimed,) = world.dispatch.history(held.id)
    renew(device, held, JobPhase.FETCHING)
    begun = world.dispatch.get(held.id)
    assert begun.accepted
    assert begun.phase is JobPhase.FETCHING
    (counted,) = world.dispatch.history(held.id)
    assert counted.claimed_at > claimed.claimed_at  # the board's time is counted once
    assert begun.started_at is not None
    assert begun.started_at > claimed.claimed_at


def test_an_agent_that_does_not_know_of_it_accepts_with_its_first_renewal(world: World) -> None:
    queue(world, 1)
    device = world.enrol("old")
    (job,) = device.sync().assignments
    renew(device, job, JobPhase.ASSIGNED)
    assert world.dispatch.get(job.id).accepted


def test_a_free_device_is_given_what_a_busy_one_holds_and_that_one_is_told_before_it_begins(world: World) -> None:
    queue(world, 2)
    busy, free = enrol(world, "busy"), enrol(world, "free")
    held = hold(busy, begin(busy))
    (job,) = free.sync().assignments
    assert (job.id, job.attempt) == (held.id, 1)
    assert renew(busy, held, JobPhase.FETCHING).order is LeaseOrder.LOST
    assert renew(free, job, JobPhase.FETCHING).order is LeaseOrder.CONTINUE
    assert [lease.outcome for lease in world.dispatch.history(job.id)] == [LeaseOutcome.NACKED, None]


def test_nothing_that_is_begun_is_taken_away_and_nothing_from_a_device_that_is_not_busy(world: World) -> None:
    queue(world, 2)
    busy, free = enrol(world, "busy"), enrol(world, "free")
    held = hold(busy, begin(busy))
    renew(busy, held, JobPhase.FETCHING)
    assert free.sync().assignments == ()


def test_a_job_that_was_just_given_to_an_idle_device_is_not_taken_from_it(world: World) -> None:
    queue(world, 1)
    first, second = enrol(world, "first"), enrol(world, "second")
    assert len(first.sync().assignments) == 1
    assert second.sync().assignments == ()


def test_two_busy_devices_do_not_take_what_the_other_holds(world: World) -> None:
    queue(world, 3)
    first, second = enrol(world, "first"), enrol(world, "second")
    ours, theirs = begin(first), begin(second)
    hold(first, ours)
    running = (RunningLease(lease=lease_of(theirs), phase=JobPhase.MEASURING),)
    assert second.sync(running=running).assignments == ()


@pytest.mark.parametrize("number_of_results", [0, 1])
def test_a_restart_gives_back_what_was_held_at_once_and_without_an_attempt(
    world: World, number_of_results: int
) -> None:
    queue(world, 2)
    device = enrol(world, "a")
    running = begin(device)
    held = hold(device, running)
    device.sync(instance_epoch=2, free_slots=0, num_spooled_results=number_of_results)
    given_back = world.dispatch.get(held.id)
    assert (given_back.state, given_back.attempt) == (JobState.QUEUED, 0)
    # What it worked on is waited for where there is a result to come.
    waits = world.dispatch.get(running.id).state is JobState.LEASED
    assert waits == bool(number_of_results)


def test_a_held_job_is_cancelled_at_once_and_its_holder_told_before_it_begins(world: World) -> None:
    queue(world, 2)
    device, free = enrol(world, "a"), enrol(world, "free")
    held = hold(device, begin(device))
    world.dispatch.cancel(held.id)
    assert world.dispatch.get(held.id).state is JobState.CANCELLED
    assert renew(device, held, JobPhase.FETCHING).order is LeaseOrder.LOST
    assert free.sync().assignments == ()
    (lease,) = world.dispatch.history(held.id)
    assert lease.ended_at is not None
    assert lease.ended_at - lease.claimed_at < timedelta(seconds=0.5)  # nobody's time


def test_the_time_of_a_device_is_counted_once_where_it_holds_a_job_beside_another(world: World) -> None:
    queue(world, 2)
    device = enrol(world, "a")
    since = world.uow.read(lambda tx: tx.now())
    hold(device, begin(device))
    time.sleep(0.5)
    busy_s, lasted_s = world.uow.read(
        lambda tx: (JobStore(tx).busy_s(device.id, since), (tx.now() - since).total_seconds())
    )
    assert 0.5 <= busy_s <= lasted_s


def test_what_was_held_when_its_agent_died_is_no_failure_of_the_device(world: World) -> None:
    queue(world, 2)
    enrol(world, "another that can take it")
    device = enrol(world, "a")
    for epoch in (2, 3):
        running = begin(device)
        held = hold(device, running)
        world.dispatch.give_back(lease_of(running), "the board is wanted elsewhere")
        device.sync(instance_epoch=epoch, free_slots=0)
        device = replace(device, instance_epoch=epoch)
    world.dispatch.cancel(running.id)
    assert begin(device).id == held.id
    current = world.dispatch.get(held.id)
    world.dispatch.fail(lease_of(current), Failure(FailureType.RUN_FAILED, "once"))
    world.database.skip_backoff()
    assert begin(device).id == held.id  # it failed there once, and is not given to others alone


def test_a_device_that_is_to_drain_begins_nothing_more(world: World) -> None:
    queue(world, 2)
    device = enrol(world, "a")
    held = hold(device, begin(device))
    world.devices.set_state(device.id, DeviceState.DRAINING, "to the workshop")
    assert renew(device, held, JobPhase.FETCHING).order is LeaseOrder.DRAIN


def order(world: World, number: int) -> tuple[Job, ...]:
    """What a person waits for."""

    def work(tx: Transaction) -> tuple[Job, ...]:
        return JobStore(tx).add_jobs([NewJob(kind=JobKind.MEASURE, payload={}, interactive=True)] * number)

    return world.uow.write(work)


def test_what_is_held_for_a_search_gives_way_to_a_persons_order(world: World) -> None:
    queue(world, 2)
    device = enrol(world, "a")
    running = begin(device)
    held = hold(device, running)
    (mine,) = order(world, 1)
    verdict = renew(device, held, JobPhase.FETCHING)
    assert (verdict.order, verdict.reason) == (LeaseOrder.LOST, "an order of a person goes before this job")
    waits = world.dispatch.get(held.id)
    assert (waits.state, waits.attempt, waits.accepted) == (JobState.QUEUED, 0, False)
    assert hold(device, running).id == mine.id
    assert renew(device, world.dispatch.get(mine.id), JobPhase.FETCHING).order is LeaseOrder.CONTINUE
    assert hold(device, running).id == held.id, "it comes next"
    assert renew(device, world.dispatch.get(held.id), JobPhase.FETCHING).order is LeaseOrder.CONTINUE


def test_what_is_begun_and_what_no_order_of_its_priority_waits_behind_goes_on(world: World) -> None:
    queue(world, 2)
    device = enrol(world, "a")
    running = begin(device)
    held = hold(device, running)
    lower = NewJob(kind=JobKind.MEASURE, payload={}, interactive=True, priority=-1)
    elsewhere = NewJob(kind=JobKind.MEASURE, payload={}, interactive=True, target=JobTarget(device_type="other"))
    world.uow.write(lambda tx: JobStore(tx).add_jobs([lower, elsewhere]))
    assert renew(device, held, JobPhase.FETCHING).order is LeaseOrder.CONTINUE
    order(world, 1)
    assert renew(device, held, JobPhase.MEASURING).order is LeaseOrder.CONTINUE
    assert renew(device, running, JobPhase.MEASURING).order is LeaseOrder.CONTINUE


def test_the_turn_of_the_shared_lane_gives_way_to_nobody(world: World) -> None:
    queue(world, 1)
    order(world, MAX_RUN + 1)
    device = enrol(world, "a")
    running = begin(device)
    for _ in range(MAX_RUN - 1):
        assert renew(device, hold(device, running), JobPhase.FETCHING).order is LeaseOrder.CONTINUE
    due = hold(device, running)
    assert not due.interactive
    assert renew(device, due, JobPhase.FETCHING).order is LeaseOrder.CONTINUE
