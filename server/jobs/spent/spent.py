"""Where the time of a search or a training went: what its jobs took, kind by kind, and how long they waited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from server.jobs.states import JobKind


@dataclass(frozen=True, slots=True, kw_only=True)
class KindTime:
    """What the jobs of one kind took. Jobs run side by side: sums may exceed the time that passed.

    Attributes:
        num_jobs: jobs so far, whatever their outcome.
        busy_s: seconds in which a worker or a device held one, summed over all leases, those that failed included.
        queued_s: seconds in which one was ready or held back and nobody held it, summed over all jobs.
    """

    kind: JobKind
    num_jobs: int
    busy_s: float
    queued_s: float


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
