"""Sums over the leases of jobs, by kind."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from server.core.database.store import Store
from server.core.database.types import now
from server.jobs.spent.spent import KindTime
from server.jobs.states import JobKind
from server.jobs.tables import jobs, leases

_US_PER_S = 1e6


class TimeStore(Store):
    """What jobs took, from their rows and those of their leases, which are kept."""

    def of_search(self, search_id: str, trained_with_it: str | None = None) -> tuple[KindTime, ...]:
        """Of the jobs of a search, and of the training of the supernet that was ordered with it, if one was."""
        its_own = jobs.c.search_id == search_id
        if trained_with_it is None:
            return self._by_kind(its_own)
        training = sa.and_(jobs.c.supernet_id == trained_with_it, jobs.c.kind == JobKind.TRAIN)
        return self._by_kind(sa.or_(its_own, training))

    def of_training(self, *, supernet_id: str | None = None, network_id: str | None = None) -> tuple[KindTime, ...]:
        """Of the jobs that train a supernet or a network, whichever is named."""
        its = jobs.c.supernet_id == supernet_id if network_id is None else jobs.c.network_id == network_id
        return self._by_kind(sa.and_(its, jobs.c.kind == JobKind.TRAIN))

    def on_devices_s(self, search_id: str) -> float:
        """Seconds in which devices held jobs of a search, summed over them."""
        held = sa.func.coalesce(_number(leases.c.ended_at), _number(now())) - _number(leases.c.claimed_at)
        wanted = (jobs.c.search_id == search_id, leases.c.device_id.is_not(None))
        statement = sa.select(sa.func.sum(held)).join(jobs, leases.c.job_id == jobs.c.id).where(*wanted)
        return max(float(self._connection.execute(statement).scalar_one() or 0), 0.0) / _US_PER_S

    def _by_kind(self, wanted: sa.ColumnElement[bool]) -> tuple[KindTime, ...]:
        current = _number(now())
        lasted = sa.func.coalesce(_number(jobs.c.finished_at), current) - _number(jobs.c.created_at)
        held = sa.func.coalesce(_number(leases.c.ended_at), current) - _number(leases.c.claimed_at)
        of_jobs = sa.select(jobs.c.kind, sa.func.count(), sa.func.sum(lasted)).where(wanted).group_by(jobs.c.kind)
        of_leases = (
            sa.select(jobs.c.kind, sa.func.sum(held))
            .join(leases, leases.c.job_id == jobs.c.id)
            .where(wanted)
            .group_by(jobs.c.kind)
        )
        busy_us = {kind: float(total) for kind, total in self._connection.execute(of_leases)}
        found: list[KindTime] = []
        for kind, num, lasted_us in self._connection.execute(of_jobs):
            busy = busy_us.get(kind, 0.0)
            # A lease may outlive its job by a moment (the job is cancelled first): what is left is nothing at least.
            busy_s, queued_s = max(busy, 0.0) / _US_PER_S, max(float(lasted_us) - busy, 0.0) / _US_PER_S
            found.append(KindTime(kind=kind, num_jobs=int(num), busy_s=busy_s, queued_s=queued_s))
        order = list(JobKind)
        return tuple(sorted(found, key=lambda one: order.index(one.kind)))


def _number(instant: sa.ColumnElement[datetime]) -> sa.ColumnElement[int]:
    """An instant as its microseconds, to reckon with."""
    return sa.type_coerce(instant, sa.BigInteger)
