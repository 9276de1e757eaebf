"""Searches amended while they run, and what was amended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.domain.json_value import JsonValue
from server.access.auth import LABELS_FIT, Permitted, QuotasDep, ReferringDocument, check_priority
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.candidates.search import Search
from server.core.database.transaction import Transaction
from server.core.errors import InvalidSpecError, SpecViolation
from server.core.http.conditional import expected_version, version_etag
from server.core.http.openapi import COMMON, api_router, json_body, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_types import (
    INVALID_PAGE_TOKEN,
    INVALID_SEARCH_SPEC,
    INVALID_STATE_TRANSITION,
    NOT_FOUND,
    PRECONDITION_FAILED,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.provide import UowDep
from server.core.http.resources import Listing, ListQuery
from server.core.idempotency import StoredResponse
from server.searches.amending.amendment import SearchAmendment
from server.searches.amending.schemas import AmendmentBody, AmendmentResource
from server.searches.candidate_routes import SearchesDep
from server.searches.routes import check_quotas, search_resource
from server.searches.schemas import SearchResource

router = api_router("searches", dependencies=[LABELS_FIT])
SearchId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]


@router.post(
    "/searches/{search_id:id}:amend",
    response_model=SearchResource,
    openapi_extra=json_body(AmendmentBody),
    responses=problems(
        *COMMON,
        *ONCE,
        NOT_FOUND,
        INVALID_SEARCH_SPEC,
        INVALID_STATE_TRANSITION,
        PRECONDITION_FAILED,
        UNSUPPORTED_MEDIA_TYPE,
    ),
)
def amend_running_search(
    search_id: SearchId,
    patch: ReferringDocument,
    request: Request,
    searches: SearchesDep,
    uow: UowDep,
    quotas: QuotasDep,
    once: PermittedOnce,
) -> Response:
    """Change budget, constraints, stop rules, priority or labels of a search under way, by a JSON merge patch of its
    spec. What is in flight is finished; the next step goes by the changed spec.
    """
    amendment = SearchAmendment(patch=_members(patch))

    def action() -> StoredResponse:
        def work(tx: Transaction) -> Search:
            before = searches.get_search(search_id)
            amended = searches.amend(search_id, amendment, expected_version(request), once.caller.creator)
            if amended.spec.priority != before.spec.priority:
                check_priority(once.caller, amended.spec.priority)
            if amended.spec.budget != before.spec.budget:
                check_quotas(tx, quotas, once.caller, amended.spec, amended)
            return amended

        search = uow.write(work)
        return stored_response(200, search_resource(search), {"ETag": version_etag(search.version)})

    return once(action)


@router.get("/searches/{search_id:id}/amendments", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_amendments(
    search_id: SearchId,
    searches: SearchesDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[AmendmentResource]:
    """What was amended of a search, by whom and when, newest first."""
    page = searches.page_of_amendments(search_id, paging.wanted(query))
    return paging.listing(page, [AmendmentResource.of_amendment(one) for one in page.items])


def _members(patch: JsonValue) -> Mapping[str, JsonValue]:
    """The members of a patch. Raises InvalidSpecError: it is none."""
    if isinstance(patch, Mapping):
        return patch
    message = f"a merge patch of a search spec is an object of its members, not {type(patch).__name__}"
    raise InvalidSpecError([SpecViolation("", message)])
