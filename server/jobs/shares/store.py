"""The order of the queue, written once: what claims are made by, and what places are counted by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from server.access.store import principals
from server.core.database.prepared import fetch
from server.core.database.store import Store
from server.core.database.types import Digest, Id, Label
from server.jobs.job import Job, JobOrder, JobTarget
from server.jobs.shares.turns import (
    MAX_INTERACTIVE,
    MAX_RUN,
    Front,
    line_of,
    next_turn,
    num_before,
    present,
    step_of,
)
from server.jobs.states import JobKind, JobState, LeaseOutcome
from server.jobs.tables import jobs, leases

_IN_LANE = (jobs.c.turn, jobs.c.id)
IN_TURN = (jobs.c.priority.desc(), jobs.c.interactive.desc(), *_IN_LANE)
"""Order of claims and of places; `shared_is_due` says when the shared lane of a priority goes before the other one."""

# Written out, not bound: an index of what waits serves only statements that say so themselves.
_QUEUED = jobs.c.state == sa.literal_column(f"'{JobState.QUEUED.value}'")
LATEST_LANES = (
    sa.select(leases.c.lease_id, jobs.c.interactive)
    .join_from(leases, jobs, jobs.c.id == leases.c.job_id)
    .where(
        leases.c.owner == sa.bindparam("claimant"),
        sa.or_(leases.c.outcome.is_(None), leases.c.outcome != LeaseOutcome.NACKED),
    )
    .order_by(leases.c.lease_id.desc())
    .limit(MAX_RUN + 1)
)


class _ByKind(NamedTuple):
    """Turns of jobs of one kind, in a priority and a lane; None where there is no such job.

    Attributes:
        pool_latest: the highest under way in the pool.
        line_earliest: the lowest under way in any.
        first: the lowest that waits in the pool.
        weight: of the owner of that.
        queued, leased, done: the highest of the owner who orders.
    """

    pool_latest: int | None
    line_earliest: int | None
    first: int | None
    weight: float | None
    queued: int | None
    leased: int | None
    done: int | None


_NUM = len(_ByKind._fields)


class TurnStore(Store):
    """The part of `JobStore` that knows in which order jobs are done."""

    def lane_and_turn(self, job: JobOrder) -> tuple[bool, int]:
        """Whether a job to be queued goes into the interactive lane, and its turn there."""
        owner_id = None if job.owner is None else job.owner.id
        interactive = job.interactive and self._num_interactive(job, owner_id) < MAX_INTERACTIVE
        target = job.target
        kinds = line_of(job.kind, target.device_type)
        parameters = _parameters(job, target, owner_id, interactive=interactive)
        typed, of_somebody = target.device_type is not None, owner_id is not None
        statement = present_statement(kinds, typed=typed, pooled=target.pool_key is not None, of_somebody=of_somebody)
        ((weight, *by_kind),) = fetch(self._connection, statement, parameters)
        asked = [_ByKind(*by_kind[place : place + _NUM]) for place in range(0, len(by_kind), _NUM)]
        first = [Front(one.first, step_of(one.weight)) for one in asked if one.first is not None]
        current = present(first, max(_known(one.pool_latest for one in asked), default=None))
        if current is None:
            current = min(_known(one.line_earliest for one in asked), default=None)
        if current is None:
            ((current,),) = fetch(self._connection, _lowest(kinds, typed=typed), parameters)
        own_last = max(_known(turn for one in asked for turn in (one.queued, one.leased)), default=None)
        own_done = max(_known(one.done for one in asked), default=None)
        return interactive, next_turn(current or 0, own_last, own_done, step_of(weight))

    def shared_is_due(self, claimant: str, without: str | None = None) -> bool:
        """Whether its latest claims were all interactive, so that the shared lane has its turn; what it gave back does
        not count.

        Args:
            without: a lease of it that is not to count either.
        """
        return self._run(claimant, without) == MAX_RUN

    def num_jobs_ahead(self, job: Job) -> int:
        """Queued and leased jobs of its kind and pool that come before a queued job.

        One board alone is followed exactly; of several, each may be one turn of the shared lane further.
        """
        queued, mine = jobs.c.state == JobState.QUEUED, jobs.c.interactive == sa.literal(job.interactive)
        alike = sa.and_(queued, jobs.c.priority == job.priority)
        before = sa.tuple_(*_IN_LANE) < sa.tuple_(*(getattr(job, column.name) for column in _IN_LANE))
        gives_way = sa.and_(~jobs.c.accepted, ~jobs.c.interactive, jobs.c.priority <= job.priority)
        held = gives_way if job.interactive else sa.false()
        conditions = (
            sa.and_(jobs.c.state == JobState.LEASED, ~held),
            sa.and_(queued, jobs.c.priority > job.priority),
            sa.and_(alike, mine, before),
            sa.and_(alike, ~mine),
        )
        counts = [sa.func.count(sa.case((condition, 1))) for condition in conditions]
        unfinished = jobs.c.state.in_((JobState.QUEUED, JobState.LEASED))
        found = self._connection.execute(sa.select(*counts).where(unfinished, *same_pool(job))).one()
        num_leased, num_higher, num_ahead, num_other = map(int, found)
        run = 0 if (claimant := self._latest_claimant(job)) is None else self._run(claimant)
        lanes = num_before(interactive=job.interactive, num_ahead=num_ahead, num_other=num_other, run=run)
        return num_leased + num_higher + lanes

    def _run(self, claimant: str, without: str | None = None) -> int:
        """Interactive jobs that it claimed one after the other just now, at most `MAX_RUN`."""
        latest = fetch(self._connection, LATEST_LANES, {"claimant": claimant})
        lanes = [bool(interactive) for lease_id, interactive in latest if lease_id != without][:MAX_RUN]
        return lanes.index(False) if False in lanes else len(lanes)

    def _latest_claimant(self, job: Job) -> str | None:
        """Who leased a job of its pool last, of those under way; None where none is."""
        latest = sa.select(jobs.c.lease_owner).where(jobs.c.state == JobState.LEASED, *same_pool(job))
        return self._connection.execute(latest.order_by(jobs.c.lease_id.desc()).limit(1)).scalar_one_or_none()

    def _num_interactive(self, job: JobOrder, owner_id: str | None) -> int:
        """The owner's unfinished jobs of the interactive lane, of the line and the priority of a job."""
        kinds = line_of(job.kind, job.target.device_type)
        statement = _num_interactive(kinds, typed=job.target.device_type is not None, of_somebody=owner_id is not None)
        parameters = _parameters(job, job.target, owner_id, interactive=True)
        return int(fetch(self._connection, statement, parameters)[0][0])


def same_pool(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    """Jobs of its kind that the same boards do."""
    target = job.target
    return (
        jobs.c.kind == job.kind,
        jobs.c.target_pool_key.is_not_distinct_from(target.pool_key),
        jobs.c.target_device_type.is_not_distinct_from(target.device_type),
    )


def _known(turns: Iterable[int | None]) -> list[int]:
    return [turn for turn in turns if turn is not None]


def _parameters(job: JobOrder, target: JobTarget, owner_id: str | None, *, interactive: bool) -> dict[str, Any]:
    given = {"of_owner": owner_id, "of_type": target.device_type, "of_pool": target.pool_key}
    known = {name: value for name, value in given.items() if value is not None}
    return {"of_priority": job.priority, "of_lane": interactive, **known}


def _line(kind: JobKind, *, typed: bool) -> Iterator[sa.ColumnElement[bool]]:
    """Jobs of one kind of a line, of a priority and a lane, in the order of the indexes."""
    yield jobs.c.kind == sa.literal(kind, jobs.c.kind.type)
    yield jobs.c.priority == sa.bindparam("of_priority")
    yield jobs.c.interactive == sa.bindparam("of_lane", type_=sa.Boolean())
    yield _is(jobs.c.target_device_type, "of_type", Label, given=typed)


def _in(state: JobState) -> sa.ColumnElement[bool]:
    return jobs.c.state == sa.literal(state, jobs.c.state.type)


def _is(column: sa.Column[Any], name: str, kind: Any, *, given: bool) -> sa.ColumnElement[bool]:
    """Equal to a value, or NULL; no one comparison for both is answered by an index of PostgreSQL."""
    return column == sa.bindparam(name, type_=kind) if given else column.is_(None)


@lru_cache(64)
def present_statement(kinds: tuple[JobKind, ...], *, typed: bool, pooled: bool, of_somebody: bool) -> sa.Select[Any]:
    """The owner's weight, then a `_ByKind` for each kind of a line; each value is at one end of an index."""
    pool = _is(jobs.c.target_pool_key, "of_pool", Digest, given=pooled)
    mine = _is(jobs.c.owner_id, "of_owner", Id, given=of_somebody)
    owners = jobs.outerjoin(principals, principals.c.id == jobs.c.owner_id)
    asked: list[Any] = [sa.null()]
    if of_somebody:
        asked = [sa.select(principals.c.weight).where(principals.c.id == sa.bindparam("of_owner")).scalar_subquery()]
    for kind in kinds:
        turn = sa.select(jobs.c.turn).where(*_line(kind, typed=typed)).limit(1)
        under_way = turn.where(_in(JobState.LEASED))
        waiting = turn.where(_QUEUED, pool).order_by(jobs.c.turn, jobs.c.id)
        own = turn.where(mine).order_by(jobs.c.turn.desc())
        values = (
            under_way.where(pool).order_by(jobs.c.turn.desc()),
            under_way.order_by(jobs.c.turn),
            waiting,
            waiting.with_only_columns(principals.c.weight).select_from(owners),
            own.where(_QUEUED),
            own.where(_in(JobState.LEASED)),
        )
        asked += [value.scalar_subquery() for value in values]
        # Of workers' kinds, which take turns with each other too, only what is unfinished counts.
        asked.append(own.where(_in(JobState.DONE)).scalar_subquery() if typed else sa.null())
    return sa.select(*asked)


@lru_cache(64)
def _lowest(kinds: tuple[JobKind, ...], *, typed: bool) -> sa.Select[Any]:
    """The lowest turn that waits in other pools of the line, for a pool that was empty while no board works."""
    lines = (sa.and_(*_line(kind, typed=typed)) for kind in kinds)
    return sa.select(sa.func.min(jobs.c.turn)).where(_QUEUED, sa.or_(*lines))


@lru_cache(64)
def _num_interactive(kinds: tuple[JobKind, ...], *, typed: bool, of_somebody: bool) -> sa.Select[Any]:
    mine = _is(jobs.c.owner_id, "of_owner", Id, given=of_somebody)
    counts: Any = sa.literal(0)
    for kind in kinds:
        for state in (JobState.QUEUED, JobState.LEASED):
            alike = (mine, _in(state), *_line(kind, typed=typed))
            counts += sa.select(sa.func.count()).select_from(jobs).where(*alike).scalar_subquery()
    return sa.select(counts)
