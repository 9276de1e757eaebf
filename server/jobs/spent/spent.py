"""Where the time of a search or a training went: what its jobs took, kind by kind, and how long they waited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nas_engine.domain.json_value import AS_DOCUMENT
from server.jobs.states import JobKind


@dataclass(frozen=True, slots=True, kw_only=True)
class KindTime:
    """What the jobs of one kind took. Jobs run side by side: their sums may exceed the time that passed."""

    __pydantic_config__ = AS_DOCUMENT

    kind: JobKind
    """Kind of the jobs: `train`, `evaluate`, `measure` and the others that jobs have."""

    num_jobs: int
    """Number of jobs so far, whatever their outcome."""

    busy_s: float
    """Seconds in which a worker or a device held one, summed over the jobs."""

    queued_s: float
    """Seconds in which nobody held one, summed over the jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSpent:
    """How long something takes.

    Attributes:
        elapsed_s: from its creation to its end, or until now.
        left_s: estimated; None where it is over, stands still, or is too young to tell.
        kinds: where the time went; empty where that was not asked for.
    """

    elapsed_s: float
    left_s: float | None = None
    kinds: tuple[KindTime, ...] = ()


def elapsed_s(created_at: datetime, finished_at: datetime | None, now: datetime) -> float:
    """Seconds from creation to the end, or until now; never negative, whatever the clocks."""
    return max(((finished_at or now) - created_at).total_seconds(), 0.0)
