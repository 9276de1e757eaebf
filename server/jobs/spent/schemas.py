"""How long something takes, on the wire."""

from __future__ import annotations

from pydantic import Field

from server.core.http.resources import Resource
from server.jobs.states import JobKind


class KindTimeResource(Resource):
    """What the jobs of one kind took. Jobs run side by side: their sums may exceed the time that passed."""

    kind: JobKind
    """Kind of the jobs: `train`, `evaluate`, `measure` and the others that jobs have."""

    num_jobs: int
    """Number of jobs so far, whatever their outcome."""

    busy_s: float
    """Seconds in which a worker or a device held one, summed over the jobs."""

    queued_s: float
    """Seconds in which nobody held one, summed over the jobs."""


class TimeResource(Resource):
    """How long something has taken, will take, and where the time goes, as of the answer."""

    elapsed_s: float
    """Seconds from its creation to its end, or until now."""

    left_s: float | None
    """Estimated seconds to its end; null where it is over or stands still, and before there is anything to tell it
    from."""

    kinds: list[KindTimeResource] = Field(default_factory=list)
    """Where the time went, kind of job by kind of job; empty in listings."""
