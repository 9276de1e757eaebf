"""Jobs as resources."""

from __future__ import annotations

from collections.abc import Mapping

from server.jobs.job import Job, QueuePlace
from server.jobs.schemas import JobDetail, JobResource


def job_resource(job: Job) -> JobResource:
    """One job."""
    return JobResource(
        id=job.id,
        kind=job.kind,
        state=job.state,
        phase=job.phase,
        priority=job.priority,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        search_id=job.search_id,
        candidate_id=job.candidate_id,
        supernet_id=job.supernet_id,
        device_type=job.target.device_type,
        lease_owner=job.lease_owner,
        lease_expires_at=job.lease_expires_at,
        cancel_requested=job.cancel_requested,
        failure_type=None if job.failure_type is None else job.failure_type.value,
        failure_message=job.failure_message,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def job_detail(job: Job, place: QueuePlace | None) -> JobDetail:
    """One job with where it stands."""
    return JobDetail(
        **job_resource(job).model_dump(),
        queue_position=None if place is None else place.position,
        num_takers=None if place is None else place.num_takers,
        eta_s=None if place is None else place.eta_s,
        classify_job_id=_classify_job_id(job),
        result=job.result,
    )


def _classify_job_id(job: Job) -> str | None:
    """Named by the payload of a measuring job, and by the result of a conversion."""
    for document in (job.payload, job.result):
        if isinstance(document, Mapping) and document.get("classify_job_id") is not None:
            return str(document["classify_job_id"])
    return None
