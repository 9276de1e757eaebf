"""The history of leases: one row per lease, closed when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from nas_engine.domain.job_protocol import FailureType
from server.core.database.statements import insert_row
from server.core.database.store import Store
from server.core.database.types import Timestamp, now
from server.core.ids import IdPrefix, new_id
from server.jobs.failures import Failure, policy_of
from server.jobs.job import ClaimRequest, Job, LeaseRecord, LeaseRef
from server.jobs.states import LeaseOutcome
from server.jobs.tables import LEASES, jobs, leases

_BLAMES_MODEL = tuple(failure for failure in FailureType if policy_of(failure).penalise_model)


_END = (
    sa.update(leases)
    .where(leases.c.lease_id == sa.bindparam("of_lease"), leases.c.ended_at.is_(None))
    .values(
        ended_at=now(),
        outcome=sa.bindparam("as_outcome", type_=leases.c.outcome.type),
        failure_type=sa.bindparam("with_type", type_=leases.c.failure_type.type),
        failure_message=sa.bindparam("with_message", type_=leases.c.failure_message.type),
        result_digest=sa.bindparam("with_digest", type_=leases.c.result_digest.type),
    )
)


class LeaseHistory(Store):
    """The part of `JobStore` that looks at past leases."""

    def open_lease(self, job: Job, request: ClaimRequest) -> str:
        """Write a new lease of a locked job; returns its id."""
        lease_id = new_id(IdPrefix.LEASE)
        values = {
            "lease_id": lease_id,
            "job_id": job.id,
            "lease_epoch": job.lease_epoch + 1,
            "attempt": job.attempt + 1,
            "owner": request.owner,
            "device_id": request.device_id,
            "failure_message": "",
        }
        insert_row(self._connection, leases, values, clocked=("claimed_at",))
        return lease_id

    def end_lease(self, lease: LeaseRef, outcome: LeaseOutcome, failure: Failure | None, digest: str | None) -> None:
        """Close the lease's history entry, if it is open still; a digest is noted even where it is closed."""
        values = {
            "of_lease": lease.lease_id,
            "as_outcome": outcome,
            "with_type": None if failure is None else failure.type,
            "with_message": "" if failure is None else failure.message,
            "with_digest": digest,
        }
        if self._connection.execute(_END, values).rowcount == 0 and digest:
            # A late result of a lease that had died: remembered, so that its repetition is recognised.
            unanswered = sa.and_(leases.c.lease_id == lease.lease_id, leases.c.result_digest.is_(None))
            self._connection.execute(sa.update(leases).where(unanswered).values(result_digest=digest))

    def lease_record(self, lease_id: str) -> LeaseRecord | None:
        """One lease by its id."""
        return self._find(LEASES, leases.c.lease_id, lease_id)

    def lease_history(self, job_id: str) -> tuple[LeaseRecord, ...]:
        """Every lease of a job, oldest first."""
        return self._list(LEASES, LEASES.select(leases.c.job_id == job_id).order_by(leases.c.lease_epoch))

    def model_failures(self, latency_key: str, hardware_key: str) -> Mapping[str, int]:
        """Leases that ended with a failure blaming the model, per device or worker, for this pair."""
        statement = (
            sa.select(leases.c.owner, sa.func.count())
            .join(jobs, jobs.c.id == leases.c.job_id)
            .where(
                jobs.c.latency_key == latency_key,
                jobs.c.hardware_key == hardware_key,
                leases.c.failure_type.in_(_BLAMES_MODEL),
            )
            .group_by(leases.c.owner)
        )
        return {str(owner): int(number) for owner, number in self._connection.execute(statement)}

    def busy_s(self, device_id: str, since: datetime) -> float:
        """Seconds for which the device held leases since then."""
        until = sa.func.coalesce(leases.c.ended_at, now(), type_=Timestamp())
        statement = sa.select(leases.c.claimed_at, until).where(leases.c.device_id == device_id, until > since)
        spans = self._connection.execute(statement).all()
        return float(sum((end - max(start, since)).total_seconds() for start, end in spans))
