"""Leases and failures between protobuf messages and values."""

from __future__ import annotations

from collections.abc import Mapping

from hilnas.v1 import control_pb2
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.text import MAX_REASON_CHARACTERS
from server.core.errors import InvalidValueError
from server.jobs.failures import Failure
from server.jobs.job import Job, LeaseRef
from server.jobs.states import JobPhase

PHASES: Mapping[int, JobPhase] = {
    number: JobPhase[name.removeprefix("PHASE_")] for name, number in control_pb2.Phase.items() if number
}


FAILURES: Mapping[int, FailureType] = {
    number: FailureType[name.removeprefix("ERROR_TYPE_")] for name, number in control_pb2.ErrorType.items() if number
}


def lease_from_proto(lease: control_pb2.LeaseRef) -> LeaseRef:
    """Read which job and which epoch a lease is of."""
    return LeaseRef(lease.job_id, lease.lease_id, lease.fence)


def failure_from_proto(type: int, message: str) -> Failure:
    """A typed failure. A type from a newer agent counts as the agent's own fault, with its number in the message."""
    known = FAILURES.get(type)
    text = " ".join(message.split())[:MAX_REASON_CHARACTERS]
    return Failure(known, text) if known else Failure(FailureType.AGENT_FAULT, f"unknown error type {type}: {text}")


def lease_to_proto(job: Job) -> control_pb2.LeaseRef:
    """The name of a leased job's lease.

    Raises:
        InvalidValueError: nobody has leased it.
    """
    lease = job.lease
    if lease is None:
        raise InvalidValueError(f"job {job.id} is not leased: it cannot be assigned")
    return control_pb2.LeaseRef(
        job_id=lease.job_id, attempt=job.attempt, lease_id=lease.lease_id, fence=lease.lease_epoch
    )
