"""The statements that find the next job of a claimant, built once for every shape that requests have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from server.core.database.labels import labels
from server.core.database.types import Digest, now
from server.jobs.job import ClaimRequest, OwnersTaken
from server.jobs.shares.store import IN_TURN
from server.jobs.states import JobKind, JobState
from server.jobs.tables import JOBS, job_exclusions, jobs

MAX_SHAPES = 256
"""Shapes of claims whose statements are kept."""


def claim_statement(request: ClaimRequest) -> sa.Select[Any]:
    """The first queued job that the claimant may do now; nobody else's claim waits for its row."""
    return _claim(_shape(request))


def shared_statement(request: ClaimRequest) -> sa.Select[Any]:
    """The first of the shared lane at the priority that is bound as ``priority``, whoever waits in the other lane."""
    return _shared(_shape(request))


def next_statement(request: ClaimRequest) -> sa.Select[Any, int, bool]:
    """Priority and lane of the job that a claim would take; locks nothing."""
    return _next(_shape(request))


def ready_statement(request: ClaimRequest) -> sa.Select[Any]:
    """Whether there is such a job; locks nothing."""
    return _ready(_shape(request))


def soonest_statement(request: ClaimRequest) -> sa.Select[Any, datetime]:
    """When the first of them may begin, and the time now."""
    return _soonest(_shape(request))


def held_statement(request: ClaimRequest) -> sa.Select[Any]:
    """The first job the claimant may do that a busy one holds beside the one it works on."""
    return _held(_shape(request))


@dataclass(frozen=True, slots=True)
class _Shape:
    """What of a claim's request decides its statement; the rest are bound values."""

    kinds: tuple[JobKind, ...]
    num_pool_keys: int
    num_labels: int
    of_search: bool
    owners: _OwnersShape | None


@dataclass(frozen=True, slots=True)
class _OwnersShape:
    num: int
    excepted: bool
    nobodys: bool


def _shape(request: ClaimRequest) -> _Shape:
    owners = request.owners
    return _Shape(
        request.kinds,
        len(request.pool_keys),
        len(request.labels),
        request.search_id is not None,
        None if owners is None else _OwnersShape(len(_padded(owners)), owners.excepted, owners.nobodys),
    )


def _padded(owners: OwnersTaken) -> list[str]:
    """Their ids, the last one repeated until there is a power of two of them: few shapes then serve any number."""
    ids = sorted(owners.ids)
    return ids + ids[-1:] * ((1 << (len(ids) - 1).bit_length()) - len(ids)) if ids else ids


def values_of(request: ClaimRequest) -> dict[str, Any]:
    """The bound values of a request's statements."""
    return {
        "owner": request.owner,
        "device_id": request.device_id,
        "device_type": request.device_type,
        **({} if request.search_id is None else {"search_id": request.search_id}),
        **{f"pool_key_{n}": key for n, key in enumerate(sorted(request.pool_keys))},
        **{f"label_{n}": key for n, key in enumerate(sorted(request.labels))},
        **{f"value_{n}": request.labels[key] for n, key in enumerate(sorted(request.labels))},
        **({} if request.owners is None else {f"owner_{n}": id for n, id in enumerate(_padded(request.owners))}),
    }


@lru_cache(MAX_SHAPES)
def _claim(shape: _Shape) -> sa.Select[Any]:
    return _claimable(JOBS.select(), shape).with_for_update(skip_locked=True, of=jobs)


@lru_cache(MAX_SHAPES)
def _shared(shape: _Shape) -> sa.Select[Any]:
    return _claim(shape).where(jobs.c.priority == sa.bindparam("priority"), jobs.c.interactive == sa.false())


@lru_cache(MAX_SHAPES)
def _ready(shape: _Shape) -> sa.Select[Any]:
    return _claimable(sa.select(sa.literal(1)).select_from(jobs), shape)


@lru_cache(MAX_SHAPES)
def _next(shape: _Shape) -> sa.Select[Any, int, bool]:
    return _claimable(sa.select(jobs.c.priority, jobs.c.interactive), shape)


@lru_cache(MAX_SHAPES)
def _soonest(shape: _Shape) -> sa.Select[Any, datetime]:
    return sa.select(sa.func.min(jobs.c.not_before), now()).where(*_suits(shape))


@lru_cache(MAX_SHAPES)
def _held(shape: _Shape) -> sa.Select[Any]:
    busy = jobs.alias("busy")
    is_busy = sa.exists().where(
        busy.c.lease_owner == jobs.c.lease_owner,
        busy.c.state == JobState.LEASED,
        busy.c.accepted,
        busy.c.id != jobs.c.id,
    )
    unbegun = (~jobs.c.accepted, ~jobs.c.cancel_requested, jobs.c.lease_owner != sa.bindparam("owner"), is_busy)
    return JOBS.select(*_suits(shape, JobState.LEASED), *unbegun).order_by(*IN_TURN).limit(1)


def _claimable(statement: sa.Select[Any], shape: _Shape) -> sa.Select[Any]:
    """The first queued job that the claimant may do now, in the order of the index."""
    return statement.where(*_suits(shape), jobs.c.not_before <= now()).order_by(*IN_TURN).limit(1)


def _suits(shape: _Shape, state: JobState = JobState.QUEUED) -> tuple[sa.ColumnElement[bool], ...]:
    """Jobs of a state that the claimant may do, now or once their back-off is over."""
    excluded = sa.exists().where(job_exclusions.c.job_id == jobs.c.id, job_exclusions.c.owner == sa.bindparam("owner"))
    carried = [
        sa.and_(labels.c.key == sa.bindparam(f"label_{n}"), labels.c.value == sa.bindparam(f"value_{n}"))
        for n in range(shape.num_labels)
    ]
    uncarried = sa.exists().where(labels.c.owner_id == jobs.c.id, ~sa.or_(sa.false(), *carried))
    offered = [sa.bindparam(f"pool_key_{n}", type_=Digest) for n in range(shape.num_pool_keys)]
    kinds = [sa.literal(kind, jobs.c.kind.type) for kind in shape.kinds]
    return (
        jobs.c.state == state,
        # One kind as an equality: the index then gives the order, and the first match ends the search.
        jobs.c.kind == shape.kinds[0] if len(shape.kinds) == 1 else _among(jobs.c.kind, kinds),
        *([jobs.c.search_id == sa.bindparam("search_id")] if shape.of_search else []),
        sa.or_(jobs.c.target_device_id.is_(None), jobs.c.target_device_id == sa.bindparam("device_id")),
        sa.or_(jobs.c.target_device_type.is_(None), jobs.c.target_device_type == sa.bindparam("device_type")),
        sa.or_(jobs.c.target_pool_key.is_(None), _among(jobs.c.target_pool_key, offered)),
        ~excluded,
        ~uncarried,
        *([] if shape.owners is None else [_taken(shape.owners)]),
    )


def _taken(shape: _OwnersShape) -> sa.ColumnElement[bool]:
    """Jobs of the owners that the claimant takes."""
    listed = _among(jobs.c.owner_id, [sa.bindparam(f"owner_{n}") for n in range(shape.num)])
    if not shape.excepted:
        return sa.or_(listed, jobs.c.owner_id.is_(None)) if shape.nobodys else listed
    others = ~listed if shape.num else jobs.c.owner_id.is_not(None)  # NOT IN is not true of NULL either
    return sa.or_(others, jobs.c.owner_id.is_(None)) if shape.nobodys else others


def _among(column: sa.Column[Any], values: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[bool]:
    """The column holds one of the values; an empty list would be one whose length is said at each call."""
    return column.in_(values) if values else sa.false()
