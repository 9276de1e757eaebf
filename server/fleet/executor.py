"""Devices as those who do jobs: which can take one, and what its end says of the device."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.fleet.device import DEVICE_TRANSITIONS, DeviceState
from server.fleet.lifecycle import set_device_state
from server.fleet.store import DeviceStore, suits
from server.fleet.takers import takers_of
from server.jobs.failures import MAX_DEVICE_FAILURES, Failure
from server.jobs.job import Job, Takers
from server.jobs.registry import Executor


class DeviceExecutor(Executor):
    """Enrolled devices: one that is blamed by several jobs in a row is quarantined."""

    def __init__(self) -> None:
        super().__init__("device", Topic.DEVICE_JOBS)

    def has_other(self, tx: Transaction, job: Job, feature: str, excluding: str) -> bool:
        """Whether another device could do this one, be it away or reserved now."""
        return any(
            device.id != excluding and device.state.takes_jobs and suits(device, job.target, feature)
            for device in DeviceStore(tx).devices_for(job.target)
        )

    def takers(self, tx: Transaction, job: Job, feature: str, timeout: timedelta) -> Takers:
        """Devices that are online and take this job."""
        return takers_of(tx, job.target, feature, timeout)

    def note_contact(self, tx: Transaction, owner: str) -> None:
        """Set when the device was last heard of to now."""
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
