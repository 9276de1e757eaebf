"""Tables of jobs, exclusions and leases; rows of jobs to values and back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nas_engine.domain.job_protocol import FailureType
from server.core.database.metadata import metadata
from server.core.database.types import Digest, Id, Json, Label, Timestamp
from server.core.ids import IdPrefix, new_id
from server.jobs.job import Job, JobTarget, LeaseRecord, NewJob
from server.jobs.kinds import JobKind
from server.jobs.states import JobPhase, JobState, LeaseOutcome

_UNFINISHED = sa.text("state IN ('queued', 'leased') AND dedupe_key IS NOT NULL")


jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", Label, nullable=False),
    sa.Column("state", Label, nullable=False),
    sa.Column("payload", Json, nullable=False),
    sa.Column("dedupe_key", sa.Text),
    sa.Column("priority", sa.BigInteger, nullable=False),
    sa.Column("target_device_type", Label),
    sa.Column("target_pool_key", Digest),
    sa.Column("target_device_id", Id),
    sa.Column("target_labels", Json, nullable=False),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), index=True),
    sa.Column("candidate_id", Id, sa.ForeignKey("candidates.id")),
    sa.Column("supernet_id", Id, sa.ForeignKey("supernets.id"), index=True),
    sa.Column("latency_key", Digest),
    sa.Column("hardware_key", Digest),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("max_attempts", sa.BigInteger, nullable=False),
    sa.Column("not_before", Timestamp, nullable=False),
    sa.Column("lease_owner", Id, index=True),
    sa.Column("lease_id", Id),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False),
    sa.Column("lease_expires_at", Timestamp),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("phase", Label),
    sa.Column("failure_type", Label),
    sa.Column("failure_message", sa.Text, nullable=False),
    sa.Column("result", Json),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("started_at", Timestamp),
    sa.Column("finished_at", Timestamp),
    sa.Index("ix_jobs_latency_key_hardware_key", "latency_key", "hardware_key"),
    # One unfinished job per dedupe key.
    sa.Index(
        "uq_jobs_active_dedupe_key", "dedupe_key", unique=True, sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED
    ),
)


# In the order of claims, so that the first match ends a search for work.
sa.Index("ix_jobs_queue", jobs.c.state, jobs.c.kind, jobs.c.priority.desc(), jobs.c.id)

job_exclusions = sa.Table(
    "job_exclusions",
    metadata,
    sa.Column("job_id", Id, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("owner", Id, primary_key=True),
)


leases = sa.Table(
    "leases",
    metadata,
    sa.Column("lease_id", Id, primary_key=True),
    sa.Column("job_id", Id, sa.ForeignKey("jobs.id"), nullable=False, index=True),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("owner", Id, nullable=False),
    sa.Column("device_id", Id, index=True),
    sa.Column("claimed_at", Timestamp, nullable=False),
    sa.Column("ended_at", Timestamp),
    sa.Column("outcome", Label),
    sa.Column("failure_type", Label),
    sa.Column("failure_message", sa.Text, nullable=False),
    sa.Column("result_digest", Digest),
    sa.UniqueConstraint("job_id", "lease_epoch"),
)


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
