"""Workers: which there are, whether they live, and what they do."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

from fastapi import Query

from server.access.auth import Permitted
from server.core.database.transaction import Transaction
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep, page_in_memory
from server.core.http.problem_types import INVALID_PAGE_TOKEN
from server.core.http.provide import UowDep
from server.core.http.resources import Listing, ListQuery
from server.jobs.job import Job
from server.jobs.workers.schemas import WorkerJobResource, WorkerResource
from server.jobs.workers.store import WorkerStore

router = api_router("jobs")


@router.get("/workers", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_workers(
    uow: UowDep, paging: PagingDep, _: Permitted, query: Annotated[ListQuery, Query()]
) -> Listing[WorkerResource]:
    """List workers with what they do; those that died stay on the list for a day."""

    def look(tx: Transaction) -> list[WorkerResource]:
        now, held = tx.now(), defaultdict[str, list[Job]](list)
        for job in WorkerStore(tx).jobs_of_workers():
            held[job.lease_owner or ""].append(job)
        return [
            WorkerResource.of(one, is_alive=one.lives(now), jobs=[WorkerJobResource.of(job) for job in held[one.id]])
            for one in WorkerStore(tx).all_workers()
        ]

    page = page_in_memory(uow.read(look), lambda worker: worker.id, paging.wanted(query))
    return paging.listing(page, page.items)
