"""Kinds of jobs, states of jobs and leases."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class JobKind(Enum):
    """What a job does. All kinds share one lease mechanism."""

    SEARCH_STEP = "search_step"
    SHIFT = "shift"
    DERIVE = "derive"
    EVALUATE = "evaluate"
    TRAIN = "train"
    RANK = "rank"
    CONVERT = "convert"
    MEASURE = "measure"
    CLASSIFY = "classify"
    TRIAL = "trial"
    FIT = "fit"
    WHAT_IF = "what_if"


LISTED_WHERE_NAMED = frozenset({JobKind.TRIAL, JobKind.FIT, JobKind.WHAT_IF})
"""Kinds that lists of jobs hold only where the request names them: clients of the first release cannot read them."""


class JobState(Enum):
    """QUEUED -> LEASED -> a final state; LEASED -> QUEUED when the lease dies."""

    QUEUED = "queued"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not JOB_TRANSITIONS[self]


class JobPhase(Enum):
    """What the holder of a lease is doing; information only, no transition depends on it."""

    ASSIGNED = "assigned"
    FETCHING = "fetching"
    PREPARING = "preparing"
    WARMUP = "warmup"
    MEASURING = "measuring"
    UPLOADING = "uploading"
    WORKING = "working"


class LeaseOutcome(Enum):
    """How a lease ended."""

    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"
    NACKED = "nacked"
    CANCELLED = "cancelled"


JOB_TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.LEASED, JobState.DONE, JobState.FAILED, JobState.CANCELLED}),
    JobState.LEASED: frozenset({JobState.QUEUED, JobState.DONE, JobState.FAILED, JobState.CANCELLED}),
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
