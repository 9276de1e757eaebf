"""Jobs and leases to rows and back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from server.service.failures import FailureType
from server.service.ids import IdPrefix, new_id
from server.service.states import JobKind, JobPhase, JobState, LeaseOutcome
from server.service.values.job import Job, JobTarget, LeaseRecord, NewJob


def new_job_row(job: NewJob) -> dict[str, Any]:
    """The row of a job that is just queued, without its times."""
    return {
        "id": new_id(IdPrefix.JOB),
        "kind": job.kind.value,
        "state": JobState.QUEUED.value,
        "payload": dict(job.payload),
        "dedupe_key": job.dedupe_key,
        "priority": job.priority,
        "target_device_type": job.target.device_type,
        "target_pool_key": job.target.pool_key,
        "target_device_id": job.target.device_id,
        "target_labels": dict(job.target.labels),
        "search_id": job.search_id,
        "candidate_id": job.candidate_id,
        "supernet_id": job.supernet_id,
        "latency_key": job.latency_key,
        "hardware_key": job.hardware_key,
        "attempt": 0,
        "max_attempts": job.max_attempts,
        "lease_epoch": 0,
        "accepted": False,
        "cancel_requested": False,
        "failure_message": "",
    }


def job_from_row(row: sa.Row[Any]) -> Job:
    """A job as a value."""
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        payload=row.payload,
        dedupe_key=row.dedupe_key,
        priority=row.priority,
        target=JobTarget(
            device_type=row.target_device_type,
            pool_key=row.target_pool_key,
            device_id=row.target_device_id,
            labels=row.target_labels,
        ),
        search_id=row.search_id,
        candidate_id=row.candidate_id,
        supernet_id=row.supernet_id,
        latency_key=row.latency_key,
        hardware_key=row.hardware_key,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        not_before=row.not_before,
        lease_owner=row.lease_owner,
        lease_id=row.lease_id,
        lease_epoch=row.lease_epoch,
        lease_expires_at=row.lease_expires_at,
        accepted=row.accepted,
        cancel_requested=row.cancel_requested,
        phase=None if row.phase is None else JobPhase(row.phase),
        failure_type=None if row.failure_type is None else FailureType(row.failure_type),
        failure_message=row.failure_message,
        result=row.result,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def lease_from_row(row: sa.Row[Any]) -> LeaseRecord:
    """A lease as a value."""
    return LeaseRecord(
        lease_id=row.lease_id,
        job_id=row.job_id,
        lease_epoch=row.lease_epoch,
        attempt=row.attempt,
        owner=row.owner,
        device_id=row.device_id,
        claimed_at=row.claimed_at,
        ended_at=row.ended_at,
        outcome=None if row.outcome is None else LeaseOutcome(row.outcome),
        failure_type=None if row.failure_type is None else FailureType(row.failure_type),
        failure_message=row.failure_message,
        result_digest=row.result_digest,
    )
