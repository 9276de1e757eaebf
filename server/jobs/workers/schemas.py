"""Workers on the wire."""

from __future__ import annotations

from datetime import datetime

from server.core.http.resources import Id, Resource
from server.jobs.states import JobKind


class WorkerJobResource(Resource):
    """A job that a worker does now."""

    id: Id
    """Identifier of the job."""

    kind: JobKind
    """Kind of the job."""

    search_id: Id | None
    """Search that the job belongs to; null for others."""

    started_at: datetime | None
    """Time at which it was begun, RFC 3339."""


class WorkerResource(Resource):
    """A process that searches, trains, evaluates and converts: all that no device does."""

    id: str
    """Name of the worker: its host and process, or the name it was given."""

    host: str
    """Name of the machine it runs on."""

    pid: int
    """Number of its process there."""

    version: str
    """Version of hilnas that it runs."""

    kinds: list[JobKind]
    """Kinds of jobs that it does."""

    is_alive: bool
    """Whether it was heard of within the last seconds and did not say goodbye."""

    started_at: datetime
    """Time at which it registered, RFC 3339."""

    beat_at: datetime
    """Time at which it was heard of last, RFC 3339."""

    left_at: datetime | None
    """Time at which it said goodbye, RFC 3339; null while it runs, and where it died."""

    jobs: list[WorkerJobResource]
    """Jobs that it does now; of a dead one, those that it holds until its leases end."""
