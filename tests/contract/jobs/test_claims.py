"""What agents cost and get while they wait and claim, against SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from nas_engine.domain.job_protocol import FailureType
from server.artifacts.files import FileByteStore
from server.bootstrap.job_kinds import all_job_kinds
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.fleet.device import DeviceState
from server.fleet.sessions import AgentOrders, AgentSessions, ReturnedLease, SessionState
from server.jobs.failures import Failure
from server.jobs.job import ClaimRequest, Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import LeaseSettings
from server.jobs.states import JobKind, JobState
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import PlayedDevice, World, lease_of

T = TypeVar("T")
PATIENT_S = 60.0
LEASES = LeaseSettings(max_wait_s=PATIENT_S)


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"), LEASES)


class CountingUnitOfWork:
    """Counts the transactions of another one."""

    def __init__(self, inner: UnitOfWork) -> None:
        self._inner = inner
        self.num_writes = 0
        self.num_reads = 0
        self.has_read = threading.Event()

    def write(self, work: Callable[[Transaction], T]) -> T:
        self.num_writes += 1
        return self._inner.write(work)

    def read(self, work: Callable[[Transaction], T]) -> T:
        self.num_reads += 1
        result = self._inner.read(work)
        self.has_read.set()
        return result


class WaitingAgent:
    """A long poll in a thread of its own."""

    def __init__(self, world: World, device: PlayedDevice) -> None:
        self.uow = CountingUnitOfWork(world.uow)
        self._sessions = AgentSessions(self.uow, world.database.wakeups, all_job_kinds(), LEASES)
        self._device = device
        self._orders: list[AgentOrders] = []
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()
        assert self.uow.has_read.wait(PATIENT_S)

    def _poll(self) -> None:
        self._orders.append(self._sessions.sync(self._device.report(), PATIENT_S))

    def orders(self) -> AgentOrders:
        self._thread.join(PATIENT_S)
        return self._orders[0]


def queue(world: World, *, target: JobTarget | None = None, number: int = 1, **more: float) -> tuple[Job, ...]:
    def work(tx: Transaction) -> tuple[Job, ...]:
        tx.wake(Topic.DEVICE_JOBS)
        job = NewJob(kind=JobKind.MEASURE, payload={}, target=target or JobTarget(), **more)  # type: ignore[arg-type]
        return JobStore(tx).add_jobs([job] * number)

    return world.uow.write(work)


def request(device: PlayedDevice, **labels: str) -> ClaimRequest:
    return ClaimRequest(owner=device.id, kinds=(JobKind.MEASURE,), device_id=device.id, labels=labels)


class TestWaiting:
    def test_a_waiting_agent_writes_once_to_come_and_once_to_take_a_job(self, world: World) -> None:
        waiting = WaitingAgent(world, world.enrol())
        for _ in range(5):  # woken for nothing: it looks, and writes nothing
            world.database.wakeups.wake(Topic.DEVICE_JOBS)
        assert waiting.uow.num_writes == 1
        (job,) = queue(world)
        assert [assigned.id for assigned in waiting.orders().assignments] == [job.id]
        assert waiting.uow.num_writes == 2
        assert waiting.uow.num_reads >= 2

    def test_a_back_off_that_ends_is_waited_for_and_not_longer(self, world: World) -> None:
        waiting = WaitingAgent(world, world.enrol())
        (job,) = queue(world, delay_s=1.0)
        assert [assigned.id for assigned in waiting.orders().assignments] == [job.id]

    def test_a_waiting_agent_hears_at_once_that_a_newer_instance_speaks(self, world: World) -> None:
        device = world.enrol()
        waiting = WaitingAgent(world, device)
        device.sync(instance_epoch=2, free_slots=0)
        assert waiting.orders().session is SessionState.TAKEN_OVER

    def test_a_waiting_agent_hears_at_once_that_its_device_drains(self, world: World) -> None:
        device = world.enrol()
        waiting = WaitingAgent(world, device)
        world.devices.set_state(device.id, DeviceState.DRAINING, "to the workshop")
        assert waiting.orders().session is SessionState.DRAINING

    def test_many_waiting_agents_share_the_jobs_that_come(self, world: World) -> None:
        waiting = [WaitingAgent(world, world.enrol(f"bench-{number}")) for number in range(6)]
        jobs = queue(world, number=6)
        assigned = [job.id for agent in waiting for job in agent.orders().assignments]
        assert sorted(assigned) == [job.id for job in jobs]

    def test_how_long_until_a_job_can_start_is_known(self, world: World) -> None:
        device = world.enrol()
        wanted = request(device)
        assert world.uow.read(lambda tx: JobStore(tx).claimable_in_s(wanted)) is None
        queue(world, delay_s=3600.0)
        soon = world.uow.read(lambda tx: JobStore(tx).claimable_in_s(wanted))
        assert soon is not None
        assert 3000.0 < soon <= 3600.0
        queue(world)
        assert world.uow.read(lambda tx: JobStore(tx).claimable_in_s(wanted)) == 0.0


class TestClaims:
    def test_a_job_behind_many_that_the_claimant_may_not_do_is_found(self, world: World) -> None:
        device = world.enrol()
        queue(world, number=210, target=JobTarget(labels={"rack": "other"}))
        (own,) = queue(world, target=JobTarget(labels={"rack": "own", "zone": "a"}))
        job = world.uow.write(
            lambda tx: JobStore(tx).claim_job(request(device, rack="own", zone="a", more="than asked"))
        )
        assert job is not None
        assert (job.id, job.state) == (own.id, JobState.LEASED)
        assert world.uow.write(lambda tx: JobStore(tx).claim_job(request(device, rack="own", zone="a"))) is None

    @pytest.mark.parametrize("labels", [{}, {"rack": "own"}, {"rack": "own", "zone": "b"}, {"zone": "a"}])
    def test_a_claimant_carries_every_label_that_a_job_asks_for(self, world: World, labels: dict[str, str]) -> None:
        queue(world, target=JobTarget(labels={"rack": "own", "zone": "a"}))
        device = world.enrol()
        assert world.uow.write(lambda tx: JobStore(tx).claim_job(request(device, **labels))) is None

    def test_the_highest_priority_comes_first_and_then_the_oldest(self, world: World) -> None:
        device = world.enrol()
        old = queue(world, number=2)
        (urgent,) = queue(world, priority=5)
        claims = [world.uow.write(lambda tx: JobStore(tx).claim_job(request(device))) for _ in range(3)]
        assert [job.id for job in claims if job is not None] == [urgent.id, old[0].id, old[1].id]

    def test_a_job_that_never_fits_on_a_device_holds_up_none_behind_it(self, world: World) -> None:
        device = world.enrol()
        large, small = queue(world, number=2)
        taken = []
        for _ in range(3):
            job = device.take()
            assert job is not None
            taken.append(job.id)
            full = Failure(FailureType.DEVICE_BUSY, "the device's disk is full")
            device.sync(free_slots=0, returned=(ReturnedLease(lease=lease_of(job), failure=full),))
        assert taken == [large.id, large.id, small.id]
        assert world.dispatch.get(large.id).state is JobState.QUEUED
