"""Searches: tried, started, followed, steered; and what they found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nas_engine.domain.dominance import Dominance
from server.access.auth import Viewer
from server.access.idempotency import ONCE, EngineerOnce, Once, stored_response
from server.bootstrap.http_context import ApiContext, Context
from server.candidates.search import Search, SearchAmendment, SearchQuery
from server.candidates.spec import SearchSpec, parse_search_spec
from server.core.http.conditional import NOT_MODIFIED, check_if_match, expected_version, tagged, version_etag
from server.core.http.documents import JsonDocument
from server.core.http.listing import answer_page, labels_of, page_request
from server.core.http.openapi import COMMON, json_body, problems
from server.core.http.problem_types import (
    INVALID_PAGE_TOKEN,
    INVALID_SEARCH_SPEC,
    INVALID_STATE_TRANSITION,
    NOT_FOUND,
    PRECONDITION_FAILED,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.queries import ListQuery
from server.core.http.resources import Listing
from server.core.idempotency import StoredResponse
from server.searches.candidate_presenter import CandidateContext, front_resource
from server.searches.candidate_schemas import FrontResource
from server.searches.presenter import checkpoint_resource, report_resource, search_resource
from server.searches.schemas import (
    CheckpointResource,
    SearchAmendmentBody,
    SearchListQuery,
    SearchResource,
    ValidationReport,
)

router = APIRouter(prefix="/api/v1", tags=["searches"])
SearchId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
_STEER = problems(*COMMON, *ONCE, NOT_FOUND, INVALID_STATE_TRANSITION, PRECONDITION_FAILED)
_RETRY_AFTER = {"Retry-After": "1"}


@router.post(
    "/searches",
    status_code=202,
    response_model=SearchResource,
    openapi_extra=json_body(SearchSpec),
    responses=problems(*COMMON, *ONCE, INVALID_SEARCH_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def create_search(document: JsonDocument, context: Context, once: EngineerOnce) -> Response:
    """Start a search. A spec that cannot be run is refused at once, with every reason and the feasible range."""

    def action() -> StoredResponse:
        search = context.searches.create(parse_search_spec(document), once.caller.created_by)
        return stored_response(202, search_resource(search), {**_headers(search), **_RETRY_AFTER})

    return once(action)


@router.post(
    "/searches:validate",
    openapi_extra=json_body(SearchSpec),
    responses=problems(*COMMON, INVALID_SEARCH_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def validate_search(document: JsonDocument, context: Context, _: Viewer) -> ValidationReport:
    """What a spec would do, without starting it: what is wrong, ranges of the cheap metrics, hardware."""
    spec = parse_search_spec(document)
    return report_resource(spec, context.searches.validate(spec))


@router.get("/searches", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_searches(
    request: Request, response: Response, context: Context, _: Viewer, query: Annotated[SearchListQuery, Query()]
) -> Listing[SearchResource]:
    """Searches, newest first unless asked otherwise."""
    wanted = SearchQuery(
        states=tuple(query.state),
        labels=labels_of(query.label),
        space_id=query.space,
        supernet_id=query.supernet_id,
        hardware_key=query.hardware_key,
        newest_first=query.order_by.startswith("-"),
    )
    page = context.searches.page(wanted, page_request(request, query, context.page_tokens))
    total = context.searches.count(wanted) if query.include_total else None
    items = [search_resource(search) for search in page.items]
    return answer_page(request, response, context.page_tokens, page, items, total)


@router.get(
    "/searches/{search_id:id}",
    response_model=SearchResource,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_search(search_id: SearchId, request: Request, context: Context, _: Viewer) -> Response:
    """One search; the id of a latency table or of its report is redirected there."""
    moved_to = _moved_to(search_id, context)
    if moved_to is not None:
        return RedirectResponse(moved_to, status_code=308)
    search = context.searches.get(search_id)
    return tagged(request, search_resource(search), version_etag(search.version))


@router.patch(
    "/searches/{search_id:id}",
    response_model=SearchResource,
    responses=problems(*COMMON, NOT_FOUND, INVALID_SEARCH_SPEC, INVALID_STATE_TRANSITION, PRECONDITION_FAILED),
)
def amend_search(
    search_id: SearchId, body: SearchAmendmentBody, request: Request, context: Context, once: EngineerOnce
) -> Response:
    """Change budget, priority or labels of a search under way; If-Match keeps two people from undoing each other."""

    def action() -> StoredResponse:
        amendment = SearchAmendment(num_candidates=body.num_candidates, priority=body.priority, labels=body.labels)
        search = context.searches.amend(search_id, amendment, expected_version(request))
        return stored_response(200, search_resource(search), {"ETag": version_etag(search.version)})

    return once(action)


@router.post("/searches/{search_id:id}:pause", status_code=202, response_model=SearchResource, responses=_STEER)
def pause_search(search_id: SearchId, request: Request, context: Context, once: EngineerOnce) -> Response:
    """Ask no more candidates; what is in flight ends first. The state follows the desired state."""
    return _steer(search_id, request, context, once, context.searches.pause)


@router.post("/searches/{search_id:id}:resume", status_code=202, response_model=SearchResource, responses=_STEER)
def resume_search(search_id: SearchId, request: Request, context: Context, once: EngineerOnce) -> Response:
    """Go on where a pause stopped."""
    return _steer(search_id, request, context, once, context.searches.resume)


@router.post("/searches/{search_id:id}:cancel", status_code=202, response_model=SearchResource, responses=_STEER)
def cancel_search(search_id: SearchId, request: Request, context: Context, once: EngineerOnce) -> Response:
    """End a search for good. What was measured stays."""
    moved_to = _moved_to(search_id, context)
    if moved_to is not None:
        return RedirectResponse(f"{moved_to}:cancel", status_code=308)
    return _steer(search_id, request, context, once, context.searches.cancel)


@router.get(
    "/searches/{search_id:id}/front",
    response_model=FrontResource,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_front(
    search_id: SearchId,
    request: Request,
    context: Context,
    _: Viewer,
    include_dominated: Annotated[bool, Query(description="Also the other complete candidates.")] = False,
    dominance: Annotated[
        Literal["point", "confident"] | None,
        Query(description="Compare by values, or by 95 % confidence intervals; absent: as the search's spec says."),
    ] = None,
    max_dominated: Annotated[
        int, Query(ge=1, le=10_000, description="If there are more of them, every second, third, ... is shown.")
    ] = 1000,
) -> Response:
    """The Pareto front over every complete feasible candidate, as it stands now; also while the search runs."""
    wanted = None if dominance is None else Dominance(dominance)
    front = context.fronts.of_search(search_id, with_dominated=include_dominated, dominance=wanted)
    stride = -(-len(front.dominated) // max_dominated) or 1
    front = replace(front, dominated=front.dominated[::stride])
    shown = (*front.points, *front.dominated)
    known = context.uow.read(lambda tx: CandidateContext.of(tx, shown))
    return tagged(request, front_resource(front, known))


@router.get("/searches/{search_id:id}/checkpoints", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_checkpoints(
    search_id: SearchId,
    request: Request,
    response: Response,
    context: Context,
    _: Viewer,
    query: Annotated[ListQuery, Query()],
) -> Listing[CheckpointResource]:
    """The algorithm's last states, newest first."""
    page = context.searches.checkpoints(search_id, page_request(request, query, context.page_tokens))
    items = [checkpoint_resource(checkpoint) for checkpoint in page.items]
    return answer_page(request, response, context.page_tokens, page, items)


def _steer(
    search_id: str, request: Request, context: ApiContext, once: Once, change: Callable[[str], Search]
) -> Response:
    def action() -> StoredResponse:
        check_if_match(request, version_etag(context.searches.get(search_id).version))
        search = change(search_id)
        return stored_response(202, search_resource(search), _headers(search))

    return once(action)


def _moved_to(search_id: str, context: ApiContext) -> str | None:
    """Path of the latency table or report that an id names; None where it names none."""
    batch = context.batches.find(search_id)
    if batch is None:
        return None
    if batch.sampling is None:
        return f"/api/v1/latency-tables/{batch.id}"
    return f"/api/v1/latency-tables/{batch.sampling.table_id}/reports/{batch.id}"


def _headers(search: Search) -> dict[str, str]:
    return {"Location": f"/api/v1/searches/{search.id}", "ETag": version_etag(search.version)}
