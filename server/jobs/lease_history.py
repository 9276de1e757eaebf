"""The history of leases: one row per lease, closed when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import takewhile
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.job_protocol import FailureType
from server.core.database.prepared import fetch, run
from server.core.database.statements import insert_row, update_row
from server.core.database.store import Store
from server.core.database.types import Timestamp, now
from server.core.ids import IdPrefix, new_id
from server.jobs.failures import MAX_DEATHS_WITH_PLUGINS, Failure, policy_of
from server.jobs.job import ClaimRequest, Job, LeaseRecord, LeaseRef
from server.jobs.states import JobState, LeaseOutcome
from server.jobs.tables import JOBS, LEASES, jobs, leases

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


def _board_time() -> sa.Select[Any]:
    """Each owner's time on a device, microseconds, read by the index of its leases.

    A lease counts from where those that began before it have ended: what is held ahead lies beside what runs. Over a
    clock that was set back a lease may end before it begins, and counts nothing.
    """
    since = sa.cast(sa.bindparam("since", type_=Timestamp()), sa.BigInteger)
    held = sa.select(
        jobs.c.owner_id,
        sa.type_coerce(leases.c.claimed_at, sa.BigInteger).label("began"),
    ).join(jobs, jobs.c.id == leases.c.job_id)
    of_device = leases.c.device_id == sa.bindparam("device_id")
    ended = held.add_columns(sa.type_coerce(leases.c.ended_at, sa.BigInteger).label("ended"))
    current = held.add_columns(sa.type_coerce(now(), sa.BigInteger).label("ended"))
    spans = sa.union_all(
        ended.where(of_device, leases.c.ended_at > sa.bindparam("since", type_=Timestamp())),
        current.where(of_device, leases.c.ended_at.is_(None)),
    ).subquery()
    counted = sa.func.max(spans.c.ended).over(order_by=(spans.c.began, spans.c.ended), rows=(None, -1))
    in_order = sa.select(spans, sa.func.coalesce(counted, since).label("counted")).subquery()
    latest = _greater(in_order.c.began, _greater(in_order.c.counted, since))
    busy_us = sa.func.sum(_greater(in_order.c.ended - latest, sa.literal(0, sa.BigInteger)))
    return sa.select(in_order.c.owner_id, busy_us).group_by(in_order.c.owner_id)


def _greater(one: sa.ColumnElement[int], other: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.case((one > other, one), else_=other)


BOARD_TIME = _board_time()


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

    def begin_lease(self, lease_id: str) -> None:
        """Count the time of a lease that was held ahead from now on."""
        update_row(self._connection, leases.c.lease_id, lease_id, {}, {"claimed_at": 0.0})

    def end_lease(self, lease: LeaseRef, outcome: LeaseOutcome, failure: Failure | None, digest: str | None) -> None:
        """Close the lease's history entry, if it is open still; a digest is noted even where it is closed."""
        values = {
            "of_lease": lease.lease_id,
            "as_outcome": outcome,
            "with_type": None if failure is None else failure.type,
            "with_message": "" if failure is None else failure.message,
            "with_digest": digest,
        }
        if run(self._connection, _END, values) == 0 and digest:
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

    def num_deaths_in_a_row(self, job: Job, together: str = "") -> int:
        """Holders that died one after the other over this job, or over jobs of its kind for its search; the larger.

        Leases that were given back say nothing, and every other end means that the process lived.

        Args:
            together: beginning of the keys of the jobs of its kind that count as this one; empty for those of its
                search, where it has one.
        """
        ended = sa.and_(leases.c.ended_at.is_not(None), leases.c.outcome != LeaseOutcome.NACKED)
        outcomes = (
            sa.select(leases.c.outcome)
            .join(jobs, jobs.c.id == leases.c.job_id)
            .order_by(leases.c.ended_at.desc(), leases.c.lease_id.desc())
            .limit(MAX_DEATHS_WITH_PLUGINS)
        )
        of_job = outcomes.where(ended, jobs.c.id == job.id)
        looks = [of_job]
        if together:
            of_group = jobs.c.dedupe_key.startswith(together, autoescape=True)
            looks.append(outcomes.where(ended, of_group, jobs.c.kind == job.kind))
        elif job.search_id is not None:
            looks.append(outcomes.where(ended, jobs.c.search_id == job.search_id, jobs.c.kind == job.kind))
        return max(
            sum(1 for _ in takewhile(lambda one: one is LeaseOutcome.EXPIRED, self._connection.execute(look).scalars()))
            for look in looks
        )

    def jobs_lost_with(self, job: Job) -> tuple[Job, ...]:
        """Jobs whose last lease had the holder of this one's, at the same time, and was not ended by it; also those
        that this loss was the end of.
        """
        own = sa.select(leases.c.claimed_at).where(leases.c.lease_id == job.lease_id).scalar_subquery()
        lost_after = sa.and_(leases.c.outcome == LeaseOutcome.EXPIRED, leases.c.ended_at > own)
        last = sa.select(leases.c.lease_id).where(
            leases.c.lease_id == jobs.c.lease_id, sa.or_(leases.c.ended_at.is_(None), lost_after)
        )
        lost = jobs.c.state.in_((JobState.QUEUED, JobState.LEASED, JobState.FAILED))
        by_same = sa.and_(lost, jobs.c.lease_owner == job.lease_owner, jobs.c.id != job.id)
        return self._list(JOBS, JOBS.select(by_same, last.exists()))

    def busy_s(self, device_id: str, since: datetime) -> float:
        """Seconds for which the device held leases since then."""
        return sum(self.board_time_s(device_id, since).values())

    def board_time_s(self, device_id: str, since: datetime) -> Mapping[str | None, float]:
        """Seconds for which the device held leases since then, by the owner of their jobs; None for nobody's."""
        rows = fetch(self._connection, BOARD_TIME, {"device_id": device_id, "since": since})
        return {owner_id: int(busy_us) / 1e6 for owner_id, busy_us in rows}
