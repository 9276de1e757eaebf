"""The database's clock is stepped, forward and back: nothing is lost, nothing is doubled, nothing waits for an hour.

A clock that jumps is a row whose times jump the other way: that is what these tests do.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from server.artifacts.files import FileByteStore
from server.candidates.states import SearchState
from server.core.paging import PageRequest
from server.fleet.sessions import RunningLease
from server.jobs.failures import MAX_BACKOFF_S
from server.jobs.job import Job, JobQuery
from server.jobs.results import ResultStatus
from server.jobs.settings import LeaseSettings
from server.jobs.states import JobKind, JobState
from server.jobs.workers.registered import RegisteredWorker, absence
from server.jobs.workers.store import WorkerStore
from server.measuring.measurement import MeasurementKind, MeasurementQuery, MeasurementRecord
from server.measuring.store import MeasurementStore
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import PlayedDevice, World, lease_of, run_to_end

HOUR_US = 3_600_000_000


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def step_clock(world: World, hours: int) -> None:
    """Set the database's clock forward, or back with a negative number: every stored time moves the other way."""
    for table, columns in (
        ("jobs", ("lease_expires_at", "not_before", "created_at", "started_at")),
        ("devices", ("last_seen_at", "enrolled_at")),
        ("leases", ("claimed_at",)),
        ("measurements", ("created_at",)),
    ):
        for column in columns:
            world.database.execute(f"UPDATE {table} SET {column} = {column} - :step", step=hours * HOUR_US)


def taken(world: World, device: PlayedDevice) -> Job:
    world.worker.run()
    job = device.take()
    assert job is not None
    return job


def measurements(world: World, job: Job) -> list[MeasurementRecord]:
    query = MeasurementQuery(kinds=tuple(MeasurementKind), include_superseded=True, include_suspect=True)
    found = world.uow.read(lambda tx: MeasurementStore(tx).page_of_measurements(query, PageRequest(1000))).items
    return [record for record in found if record.job_id == job.id]


@pytest.mark.parametrize("hours", [1, -1])
def test_a_search_over_a_jump_measures_everything_once(world: World, hours: int) -> None:
    device = world.enrol()
    search = world.search()
    job = taken(world, device)
    step_clock(world, hours)
    world.dispatch.sweep()
    device.measure(job)
    assert run_to_end(world, device, search).state is SearchState.COMPLETED
    jobs = world.dispatch.page(JobQuery(search_id=search.id, kinds=(JobKind.MEASURE,)), PageRequest(100)).items
    for one in jobs:
        assert len([record for record in measurements(world, one) if not record.superseded]) == 1


def test_after_a_jump_forward_the_first_result_counts_and_the_second_is_kept_aside(world: World) -> None:
    first, second = world.enrol("first"), world.enrol("second")
    world.search(budget={"num_candidates": 1})
    job = taken(world, first)
    step_clock(world, 1)
    assert world.dispatch.sweep().num_requeued == 1
    world.database.skip_backoff()
    again = second.take()
    assert again is not None
    assert again.id == job.id
    (verdict,) = world.sessions.renew(first.id, (RunningLease(lease=lease_of(job)),))
    assert verdict.order is LeaseOrder.LOST
    assert second.measure(again).status is ResultStatus.ACCEPTED
    assert first.measure(job).status is ResultStatus.SUPERSEDED
    assert [record.superseded for record in measurements(world, job)].count(False) == 1


def test_after_a_jump_forward_a_lease_that_is_renewed_before_the_sweep_lives_on(world: World) -> None:
    device = world.enrol()
    world.search(budget={"num_candidates": 1})
    job = taken(world, device)
    step_clock(world, 1)
    (verdict,) = world.sessions.renew(device.id, (RunningLease(lease=lease_of(job)),))
    assert verdict.order is LeaseOrder.CONTINUE
    assert world.dispatch.sweep().num_requeued == 0
    assert device.measure(job).status is ResultStatus.ACCEPTED


def test_after_a_jump_back_a_dead_agents_lease_still_dies_in_its_time(world: World) -> None:
    device = world.enrol()
    world.search(budget={"num_candidates": 1})
    job = taken(world, device)
    step_clock(world, -1)
    world.dispatch.sweep()
    found, now = world.dispatch.get(job.id), world.uow.read(lambda tx: tx.now())
    assert found.lease_expires_at is not None
    assert found.state is JobState.LEASED
    # Not an hour and a minute, and not at once: the agent may well be alive.
    assert 0.0 < (found.lease_expires_at - now).total_seconds() <= 2 * LeaseSettings().ttl_s + 60.0
    world.database.kill_lease(job.id)
    assert world.dispatch.sweep().num_requeued == 1


def test_after_a_jump_back_jobs_do_not_wait_for_an_hour(world: World) -> None:
    device = world.enrol()
    world.search(budget={"num_candidates": 1})
    job = taken(world, device)
    device.fail(job, FailureType.INTERFERED)
    step_clock(world, -1)
    assert device.take() is None
    world.dispatch.sweep()
    again = device.take()
    assert again is not None
    assert again.id == job.id


def test_a_lease_and_a_back_off_that_are_as_long_as_can_be_are_left_alone(world: World) -> None:
    device = world.enrol()
    world.search(budget={"num_candidates": 1})
    job = taken(world, device)
    before = world.dispatch.get(job.id).lease_expires_at
    world.dispatch.sweep()
    assert world.dispatch.get(job.id).lease_expires_at == before
    device.fail(job, FailureType.INTERFERED)
    world.database.execute("UPDATE jobs SET not_before = not_before + :wait", wait=round(MAX_BACKOFF_S * 1e6))
    world.dispatch.sweep()
    assert device.take() is None


@pytest.mark.parametrize("hours", [1, -1])
def test_a_device_is_not_mistaken_for_a_clone_or_an_absent_one_over_a_jump(world: World, hours: int) -> None:
    device = world.enrol()
    step_clock(world, hours)
    world.search(budget={"num_candidates": 1})
    job = taken(world, device)
    assert device.measure(job).status is ResultStatus.ACCEPTED
    assert world.devices.online(world.devices.get(device.id))


def test_who_died_before_the_clock_was_set_back_is_not_alive_for_an_hour(world: World) -> None:
    device = world.enrol()
    worker = RegisteredWorker(
        id="worker-1",
        host="here",
        pid=1,
        version="1",
        kinds=(JobKind.CONVERT,),
        started_at=datetime.now(UTC),
        beat_at=datetime.now(UTC),
    )
    world.dispatch.beat(worker)
    step_clock(world, -1)
    world.database.execute("UPDATE workers SET beat_at = beat_at + :step", step=HOUR_US)
    assert not world.devices.online(world.devices.get(device.id))

    def absent() -> str:
        return world.uow.read(lambda tx: absence(WorkerStore(tx).all_workers(), JobKind.CONVERT, tx.now()))

    assert "was last heard of 0 s ago" in absent()
    world.dispatch.beat(worker)
    assert absent() == ""
    world.search(budget={"num_candidates": 1})
    assert taken(world, device)
    assert world.devices.online(world.devices.get(device.id))


def test_what_took_less_than_no_time_spoils_no_estimate_and_no_share(world: World) -> None:
    device = world.enrol()
    world.search(budget={"num_candidates": 3})
    job = taken(world, device)
    step_clock(world, -1)
    assert device.measure(job).status is ResultStatus.ACCEPTED
    world.database.execute("UPDATE devices SET enrolled_at = enrolled_at - :long", long=3 * HOUR_US)
    assert 0.0 <= world.devices.utilisation(device.id, timedelta(hours=2)) < 0.1
    waiting = world.dispatch.page(JobQuery(kinds=(JobKind.MEASURE,), states=(JobState.QUEUED,)), PageRequest(10)).items
    places = [world.dispatch.place(one.id) for one in waiting]
    assert all(place is not None and (place.eta_s is None or place.eta_s >= 0.0) for place in places)
