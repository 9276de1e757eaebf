"""Jobs: what workers and devices do now, and what waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Path, Query

from server.access.auth import Permitted
from server.access.changes.recording import PermittedChange
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_types import INVALID_PAGE_TOKEN, INVALID_STATE_TRANSITION, NOT_FOUND
from server.core.http.provide import UowDep, provided
from server.core.http.resources import Listing
from server.jobs.dispatch import Dispatch
from server.jobs.job import Job, JobQuery, QueuePlace
from server.jobs.queue import JobStore
from server.jobs.schemas import JobDetail, JobListQuery, JobResource
from server.jobs.states import LISTED_WHERE_NAMED, JobKind

router = api_router("jobs")
DispatchDep = Annotated[Dispatch, provided(Dispatch)]
JobId = Annotated[
    str, Path(description="Id of the job, as the server gave it.", examples=["job_01jd3x5w8k2v7m4q9r6t1y0z3a"])
]


@router.get("/jobs", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_jobs(
    paging: PagingDep, uow: UowDep, _: Permitted, query: Annotated[JobListQuery, Query()]
) -> Listing[JobResource]:
    """List jobs, newest first; those of kinds `trial`, `fit` and `what_if` where the request names the kind."""
    wanted = JobQuery(
        kinds=tuple(query.kind) or tuple(kind for kind in JobKind if kind not in LISTED_WHERE_NAMED),
        states=tuple(query.state),
        search_id=query.search_id,
        device_id=query.device_id,
        owner=query.owner,
    )
    at = paging.wanted(query)
    page = uow.read(lambda tx: JobStore(tx).page_of_jobs(wanted, at))
    return paging.listing(page, [JobResource.of_job(job) for job in page.items])


@router.get("/jobs/{job_id:id}", responses=problems(*COMMON, NOT_FOUND))
def get_job(job_id: JobId, dispatch: DispatchDep, _: Permitted) -> JobDetail:
    """Read one job with its place in the queue and its result."""
    return job_detail(dispatch.get(job_id), dispatch.place(job_id))


@router.post(
    "/jobs/{job_id:id}:cancel", status_code=202, responses=problems(*COMMON, NOT_FOUND, INVALID_STATE_TRANSITION)
)
def cancel_job(job_id: JobId, dispatch: DispatchDep, change: PermittedChange) -> JobDetail:
    """Cancel the measurement of an uploaded model; jobs of searches and trainings are cancelled with those."""
    change(lambda: dispatch.cancel(job_id), lambda _: job_id)
    return job_detail(dispatch.get(job_id), dispatch.place(job_id))


def job_detail(job: Job, place: QueuePlace | None) -> JobDetail:
    """One job with where it stands in its queue."""
    # Named by the payload of a measuring job, and by the result of a conversion.
    documents = [document for document in (job.payload, job.result) if isinstance(document, Mapping)]
    classify_job_ids = [str(i) for document in documents if (i := document.get("classify_job_id")) is not None]
    takers = None if place is None else place.takers
    return JobDetail.of_job(
        job,
        queue_position=None if place is None else place.position,
        num_takers=None if place is None else place.num_takers,
        takers_last_seen_at=None if takers is None else takers.last_seen_at,
        waiting_for="" if takers is None else takers.waiting_for,
        eta_s=None if place is None else place.eta_s,
        input_shapes=job.payload.get("input_shapes") or {},
        classify_job_id=classify_job_ids[0] if classify_job_ids else None,
    )
