"""Jobs on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from server.core.http.resources import Id, Json, ListQuery, Resource, Text
from server.jobs.states import JobKind, JobPhase, JobState


class JobListQuery(ListQuery):
    """Which jobs."""

    kind: list[JobKind] = Field(default_factory=list)
    """Any of these."""

    state: list[JobState] = Field(default_factory=list)
    """Any of these."""

    search_id: Text | None = None
    """Of this search."""

    device_id: Text | None = None
    """Held by this device."""


class JobResource(Resource):
    """One piece of work of a worker or a device."""

    id: Id
    kind: JobKind
    state: JobState
    phase: JobPhase | None
    """What its holder is doing; null before anybody held it."""

    priority: int
    attempt: int
    """Leases so far that count."""

    max_attempts: int
    search_id: Id | None
    candidate_id: Id | None
    supernet_id: Id | None
    device_type: str | None
    lease_owner: str | None
    lease_expires_at: datetime | None
    cancel_requested: bool
    failure_type: str | None
    """Why the last failed attempt failed."""

    failure_message: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobDetail(JobResource):
    """A job with where it stands and what it gave."""

    queue_position: int | None
    """1 for the next of its queue; null once it is not waiting."""

    num_takers: int | None
    """Devices that take such jobs now; null for the workers' jobs."""

    eta_s: float | None
    """Seconds to its likely end, from how long such jobs took lately; null where nothing is known."""

    classify_job_id: Id | None
    """The job that classifies images with the same model of one's own; null without images, or before it is queued."""

    result: Json
    """Small JSON: `measurement_id` of a measuring job, `classification_id` of a classifying one, `next_job_id` of a
    conversion that a measurement follows."""
