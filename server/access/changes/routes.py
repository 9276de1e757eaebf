"""Changes: who did what, newest first."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from server.access.auth import Permitted
from server.access.changes.change import ChangeQuery
from server.access.changes.changes import Changes
from server.access.changes.schemas import ChangeListQuery, ChangeResource
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_types import INVALID_PAGE_TOKEN
from server.core.http.provide import provided
from server.core.http.resources import Listing

router = api_router("changes")
ChangesDep = Annotated[Changes, provided(Changes)]


@router.get("/changes", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_changes(
    changes: ChangesDep, paging: PagingDep, caller: Permitted, query: Annotated[ChangeListQuery, Query()]
) -> Listing[ChangeResource]:
    """List who did what to which thing, newest first: to what is the caller's own, and what the caller did itself; an
    admin sees all.
    """
    wanted = ChangeQuery(
        visible_to=caller.sees_only,
        actor=query.actor,
        actor_kinds=tuple(query.actor_kind),
        kinds=tuple(query.kind),
        actions=tuple(query.action),
        subject_id=query.subject_id,
        since=query.since,
        until=query.until,
    )
    page = changes.page(wanted, paging.wanted(query))
    return paging.listing(page, [ChangeResource.of(change) for change in page.items])
