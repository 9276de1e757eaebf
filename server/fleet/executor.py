"""Devices as those who do jobs: how many can take one, and what its end says of the device."""

from __future__ import annotations

from dataclasses import replace

from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.fleet.device import DEVICE_TRANSITIONS, DeviceState
from server.fleet.lifecycle import set_device_state
from server.fleet.store import DeviceStore
from server.jobs.failures import MAX_DEVICE_FAILURES, Failure
from server.jobs.job import Job
from server.jobs.registry import Executor


class DeviceExecutor(Executor):
    """Enrolled devices: one that is blamed by several jobs in a row is quarantined."""

    def __init__(self) -> None:
        super().__init__("device", Topic.DEVICE_JOBS)

    def num_takers(
        self, tx: Transaction, job: Job, feature: str, *, excluding: str = "", reserved: bool = True
    ) -> int | None:
        """How many devices that take jobs could do this one."""
        return DeviceStore(tx).num_able_devices(job.target, excluding, feature, reserved=reserved)

    def note_contact(self, tx: Transaction, owner: str) -> None:
        """Move its `last_seen_at`."""
        DeviceStore(tx).touch_device(owner)

    def note_failure(self, tx: Transaction, owner: str, job: Job, failure: Failure) -> None:
        """Count it against the device; too many in a row quarantine it."""
        device = DeviceStore(tx).lock_device(owner)
        count = device.num_failures_in_a_row + 1
        device = replace(device, num_failures_in_a_row=count)
        if count >= MAX_DEVICE_FAILURES and DeviceState.QUARANTINED in DEVICE_TRANSITIONS[device.state]:
            reason = f"{count} failures in a row, last of job {job.id}: {failure.type.value}: {failure.message}"
            set_device_state(tx, device, DeviceState.QUARANTINED, reason)
        else:
            DeviceStore(tx).save_device(device)

    def note_success(self, tx: Transaction, owner: str) -> None:
        """End its failures in a row."""
        if DeviceStore(tx).get_device(owner).num_failures_in_a_row:
            DeviceStore(tx).save_device(replace(DeviceStore(tx).lock_device(owner), num_failures_in_a_row=0))


DEVICES = DeviceExecutor()
