"""Candidates of a search, their evaluations and their pictures."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.domain.errors import EngineError
from nas_engine.domain.objective import Metric
from server.api.auth import Viewer
from server.api.conditional import NOT_MODIFIED, tagged
from server.api.context import Context
from server.api.listing import answer_page, page_in_memory, page_request
from server.api.openapi import COMMON, problems
from server.api.presenters.candidates import CandidateContext, candidate_resource, evaluation_resource
from server.api.problem_types import INVALID_PAGE_TOKEN, NOT_FOUND
from server.api.schemas.candidates import CandidateResource, EvaluationResource
from server.api.schemas.queries import CandidateListQuery, ListQuery
from server.api.schemas.wire import Listing
from server.api.service_errors import architecture_problem
from server.service.paging import Page
from server.service.ports.unit_of_work import Transaction
from server.service.values.candidate import Candidate, CandidateOrder, CandidateQuery, Evaluation, MetricBound

router = APIRouter(prefix="/api/v1", tags=["candidates"])
SearchId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
CandidateId = Annotated[str, Path(examples=["cand_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
_SVG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/svg+xml": {"schema": {"type": "string"}}}, "description": "The picture."}
}


@router.get("/searches/{search_id:id}/candidates", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_candidates(
    search_id: SearchId,
    request: Request,
    response: Response,
    context: Context,
    _: Viewer,
    query: Annotated[CandidateListQuery, Query()],
) -> Listing[CandidateResource]:
    """Candidates of a search: filtered and sorted by any metric."""
    wanted, at = _query(search_id, query), page_request(request, query, context.page_tokens)

    def look(tx: Transaction) -> tuple[Page[Candidate], CandidateContext, int | None]:
        tx.searches.get(search_id)
        page = tx.candidates.page(wanted, at)
        total = tx.candidates.count(wanted) if query.include_total else None
        return page, CandidateContext.of(tx, page.items), total

    page, known, total = context.uow.read(look)
    items = [candidate_resource(candidate, known) for candidate in page.items]
    return answer_page(request, response, context.page_tokens, page, items, total)


@router.get(
    "/candidates/{candidate_id:id}",
    response_model=CandidateResource,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_candidate(candidate_id: CandidateId, request: Request, context: Context, _: Viewer) -> Response:
    """One candidate."""

    def look(tx: Transaction) -> tuple[Candidate, CandidateContext]:
        candidate = tx.candidates.get(candidate_id)
        return candidate, CandidateContext.of(tx, [candidate])

    return tagged(request, candidate_resource(*context.uow.read(look)))


@router.get("/candidates/{candidate_id:id}/evaluations", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_evaluations(
    candidate_id: CandidateId,
    request: Request,
    response: Response,
    context: Context,
    _: Viewer,
    query: Annotated[ListQuery, Query()],
) -> Listing[EvaluationResource]:
    """Every evaluation of a candidate: metric by metric, the highest attempt is the current one."""

    def look(tx: Transaction) -> tuple[Evaluation, ...]:
        tx.candidates.get(candidate_id)
        return tx.evaluations.of_candidates([candidate_id])

    found = context.uow.read(look)
    page = page_in_memory(found, lambda evaluation: evaluation.id, page_request(request, query, context.page_tokens))
    return answer_page(request, response, context.page_tokens, page, [evaluation_resource(e) for e in page.items])


@router.get(
    "/candidates/{candidate_id:id}/picture.svg",
    response_class=Response,
    responses={**_SVG, **problems(*COMMON, NOT_FOUND)},
)
def get_candidate_picture(
    candidate_id: CandidateId,
    context: Context,
    _: Viewer,
    compared_with: Annotated[
        str | None, Query(max_length=100, description="Id of a second candidate: draws their differences.")
    ] = None,
) -> Response:
    """A picture of the architecture, or of what differs between two."""

    def look(tx: Transaction) -> tuple[Candidate, Candidate | None]:
        other = None if compared_with is None else tx.candidates.get(compared_with)
        return tx.candidates.get(candidate_id), other

    candidate, other = context.uow.read(look)
    try:
        svg = context.spaces.picture_svg(
            candidate.record.architecture, None if other is None else other.record.architecture
        )
    except EngineError as error:
        raise architecture_problem(error) from error
    # A picture must not be able to do anything, wherever it is opened.
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(svg, media_type="image/svg+xml", headers=headers)


def _query(search_id: str, query: CandidateListQuery) -> CandidateQuery:
    return CandidateQuery(
        search_id=search_id,
        states=tuple(query.state),
        arch_id=query.arch_id,
        generation=query.generation,
        bounds=tuple(_bound(text) for text in query.metric),
        order=CandidateOrder(query.order_by.removeprefix("-")),
        descending=query.order_by.startswith("-"),
    )


def _bound(text: str) -> MetricBound:
    label, operator, number = text.split(":")
    metric, value = Metric.from_label(label), float(number)
    if operator == "ge":
        return MetricBound(metric=metric, minimum=value)
    return MetricBound(metric=metric, maximum=value)
