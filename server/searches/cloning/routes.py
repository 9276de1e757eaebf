"""Searches launched again from others, with changes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from server.access.auth import LABELS_FIT, QuotasDep, ReferringDocument, check_priority
from server.access.limits.idempotency import ONCE, PermittedOnce
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.problem_types import INVALID_SEARCH_SPEC, NOT_FOUND, UNSUPPORTED_MEDIA_TYPE
from server.core.http.provide import UowDep
from server.searches.candidate_routes import SearchesDep
from server.searches.cloning.cloned_spec import cloned_document
from server.searches.routes import launched
from server.searches.schemas import SearchResource

router = api_router("searches", dependencies=[LABELS_FIT])
SearchId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
_PATCH = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": True,
                    "description": "JSON merge patch (RFC 7396) of the search spec: members that are to be different; "
                    "null takes one away, a list replaces the whole list.",
                    "examples": [{"budget": {"num_candidates": 200}, "seed": 1}],
                }
            }
        },
    }
}


@router.post(
    "/searches/{search_id:id}:clone",
    status_code=202,
    response_model=SearchResource,
    openapi_extra=_PATCH,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_SEARCH_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def clone_search(
    search_id: SearchId,
    patch: ReferringDocument,
    searches: SearchesDep,
    uow: UowDep,
    quotas: QuotasDep,
    once: PermittedOnce,
    train_again: Annotated[
        bool, Query(description="Train the supernet anew that was trained with it; absent: it is used by its id.")
    ] = False,
    as_launched: Annotated[
        bool, Query(description="Start from the spec as it was launched; absent: as it was amended since.")
    ] = False,
) -> Response:
    """Launch a search again from another, in any state, with the changes of a merge patch; {} changes nothing."""
    search = searches.get_search(search_id)
    spec = (searches.launched_spec(search.id) if as_launched else None) or search.spec
    document = cloned_document(search, spec, patch, train_again=train_again)
    found, because = searches.requested(document)
    check_priority(once.caller, found.priority)
    return launched(found, because, searches, uow, quotas, once, cloned_from=search.id)
