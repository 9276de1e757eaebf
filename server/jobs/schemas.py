"""Jobs on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import Field

from server.access.schemas import Owner, OwnerName
from server.core.http.resources import Id, Json, ListQuery, Resource, Text
from server.jobs.job import Job
from server.jobs.states import JobKind, JobPhase, JobState


class JobListQuery(ListQuery):
    """Filters of the listing of jobs; those that are absent let every job through."""

    kind: list[JobKind] = Field(default_factory=list)
    """Kinds of jobs to list; repeat it for several, absent: every kind."""

    state: list[JobState] = Field(default_factory=list)
    """States of jobs to list; repeat it for several, absent: every state."""

    search_id: Text | None = None
    """Id of a search; only its jobs are listed."""

    device_id: Text | None = None
    """Id of a device; only jobs that it holds are listed."""

    owner: OwnerName = None
    """Name or id of a principal; only what it owns is listed."""


class JobResource(Resource):
    """A job of a worker or a device: queued by the server, leased to one holder at a time."""

    id: Id
    """Id of the job, `job_...`, given by the server."""

    kind: JobKind
    """What the job does, set when it was queued."""

    state: JobState
    """State the server keeps it in: queued, leased, or one of the final ones."""

    phase: JobPhase | None
    """Phase its holder last reported, `assigned` until it begins, as a device may hold its next job beside the one it
    works on; null before anybody held it."""

    priority: int
    """Priority it was queued with; jobs with a higher one are leased first."""

    interactive: bool = False
    """Whether it goes before the jobs of searches and batches at its priority, as the order of one person does: each
    owner has a few such orders at a time, the server sends further ones into the shared lane."""

    attempt: int
    """Number of leases so far that count against max_attempts."""

    max_attempts: int
    """Number of attempts after which a failure is final, set when it was queued."""

    search_id: Id | None
    """Id of the search it serves; null where it serves none."""

    candidate_id: Id | None
    """Id of the candidate it serves; null where it serves none."""

    supernet_id: Id | None
    """Id of the supernet it trains or evaluates with, or, as clients of the first release read it, of the network it
    trains or converts; null where there is none."""

    network_id: Id | None = None
    """Id of the network it trains or converts; null where there is none."""

    device_type: str | None
    """Type of the devices that may take it; null for the workers' jobs."""

    lease_owner: str | None
    """Device or worker that holds it, as the server granted the lease; null while nobody does."""

    lease_expires_at: datetime | None
    """Time at which the lease ends unless its holder renews it, by the database's clock; null while nobody holds it."""

    cancel_requested: bool
    """Whether its cancellation was asked for; the holder learns of it at its next renewal."""

    failure_type: str | None
    """Type of failure that ended the last failed attempt; null before any failed."""

    failure_message: str
    """Message of the last failed attempt, for people; empty before any failed."""

    created_at: datetime
    """Time at which it was queued, RFC 3339 in UTC."""

    owner: Owner = None
    """Principal whose search, supernet, network, study, table or measurement it serves; null without authentication."""

    started_at: datetime | None
    """Time at which its first attempt began, or was leased where none has begun; null before."""

    finished_at: datetime | None
    """Time at which it reached a final state; null before it."""

    @classmethod
    def of_job(cls, job: Job, **members: object) -> Self:
        """A job as REST answers it."""
        return cls.of(job, job.target, supernet_id=job.supernet_id or job.network_id, **members)


class JobDetail(JobResource):
    """A job with its place in the queue, its estimated end and its result."""

    queue_position: int | None
    """Place in its queue, 1 for the next, counted by the server; null once it is not waiting."""

    num_takers: int | None
    """Number of devices that are online and take such jobs now, counted by the server; null for the workers' jobs."""

    eta_s: float | None
    """Seconds to its likely end, estimated from how long such jobs took lately; null where nothing is known, or nobody
    takes it now."""

    takers_last_seen_at: datetime | None = None
    """Time at which the server last heard of a device that could do it, RFC 3339 in UTC; null once it is not waiting,
    for the workers' jobs, and where no device fits."""

    waiting_for: str = ""
    """What it waits for beside its turn, in words for people from the server: a board that is away, or one with another
    configuration; empty where there is nothing to say."""

    classify_job_id: Id | None
    """Id of the job that classifies images with the same uploaded model; null without images, or before it is
    queued."""

    input_shapes: dict[str, list[int]] = Field(default_factory=dict)
    """Shapes that open axes of an uploaded model were fixed to, by input, for this measurement."""

    result: Json
    """Result as a small JSON document: `measurement_id` of a measuring job, `classification_id` of a classifying one,
    `next_job_id` of a conversion that a measurement follows."""
