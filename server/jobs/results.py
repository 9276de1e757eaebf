"""The result protocol of jobs that devices do: idempotent, fenced, answered with a receipt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from server.candidates.lifecycle import affected_searches
from server.core.database.transaction import Transaction
from server.core.errors import NotFoundError
from server.fleet.store import DeviceStore
from server.jobs.job import Job, LeaseRef
from server.jobs.queue import JobStore
from server.measuring.store import MeasurementStore


class ResultStatus(Enum):
    """What became of a result."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # the very same result was taken before
    SUPERSEDED = "superseded"  # stored, but the job was leased again or is over: not authoritative
    REJECTED = "rejected"  # not stored: sending it again is of no use


@dataclass(frozen=True, slots=True)
class ResultReceipt:
    """Answer to a result. The agent deletes its copy whatever the status."""

    status: ResultStatus
    reason: str = ""
    measurement_id: str | None = None


def open_result(tx: Transaction, device_id: str, lease: LeaseRef, digest: str) -> Job | ResultReceipt:
    """The locked job of a result that came in, its searches locked too; or the receipt of one not to be taken."""
    DeviceStore(tx).touch(device_id)
    try:
        seen = JobStore(tx).get(lease.job_id)
    except NotFoundError as error:
        return ResultReceipt(ResultStatus.REJECTED, str(error))
    affected_searches(tx, seen)
    job = JobStore(tx).lock(lease.job_id)
    record = JobStore(tx).lease_record(lease.lease_id)
    known = record is not None and (record.job_id, record.lease_epoch) == (lease.job_id, lease.lease_epoch)
    if record is None or not known or record.device_id != device_id:
        return ResultReceipt(ResultStatus.REJECTED, f"lease {lease.lease_id} is not one of this device")
    if record.result_digest is not None:
        if record.result_digest != digest:
            return ResultReceipt(ResultStatus.REJECTED, f"lease {lease.lease_id} brought another result before")
        stored = MeasurementStore(tx).of_lease(lease.lease_id)
        return ResultReceipt(ResultStatus.DUPLICATE, measurement_id=None if stored is None else stored.id)
    return job
