"""Candidates of a search, their evaluations and their pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.domain.errors import EngineError
from nas_engine.domain.objective import Metric
from server.access.auth import Viewer
from server.candidates.candidate import Candidate, CandidateOrder, CandidateQuery, Evaluation, MetricBound
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.http.conditional import NOT_MODIFIED, tagged
from server.core.http.exports import EXPORTS, Column, csv_response, every, ndjson_response
from server.core.http.openapi import COMMON, problems
from server.core.http.paging import PagingDep, page_in_memory
from server.core.http.problem_handlers import architecture_problem
from server.core.http.problem_types import INVALID_PAGE_TOKEN, NOT_ACCEPTABLE, NOT_FOUND
from server.core.http.provide import UowDep
from server.core.http.requests import CSV, JSON, NDJSON, preferred
from server.core.http.resources import Listing, ListQuery
from server.core.paging import Page, PageRequest
from server.searches.candidate_presenter import CandidateContext, candidate_resource, evaluation_resource
from server.searches.candidate_schemas import CandidateListQuery, CandidateResource, EvaluationResource
from server.searches.routes import SearchesDep
from server.spaces.routes import SpaceCatalogDep

router = APIRouter(prefix="/api/v1", tags=["candidates"])
SearchId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
CandidateId = Annotated[str, Path(examples=["cand_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
_SVG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/svg+xml": {"schema": {"type": "string"}}}, "description": "The picture."}
}


@router.get(
    "/searches/{search_id:id}/candidates",
    response_model=Listing[CandidateResource],
    responses={**EXPORTS, **problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND, NOT_ACCEPTABLE)},
)
def list_candidates(
    search_id: SearchId,
    request: Request,
    searches: SearchesDep,
    paging: PagingDep,
    uow: UowDep,
    _: Viewer,
    query: Annotated[CandidateListQuery, Query()],
) -> Response:
    """Candidates of a search: filtered and sorted by any metric."""
    wanted = _query(search_id, query)
    searches.get(search_id)
    match preferred(request, JSON, CSV, NDJSON):
        case "text/csv":
            return csv_response(_COLUMNS, _every(uow, wanted))
        case "application/x-ndjson":
            return ndjson_response(_every(uow, wanted))
        case _:
            page, items = _page(uow, wanted, paging.wanted(query))
            total = uow.read(lambda tx: CandidateStore(tx).count_candidates(wanted)) if query.include_total else None
            return paging.answer(page, items, total)


def _page(uow: UnitOfWork, wanted: CandidateQuery, at: PageRequest) -> tuple[Page[Candidate], list[CandidateResource]]:
    def look(tx: Transaction) -> tuple[Page[Candidate], CandidateContext]:
        page = CandidateStore(tx).page_of_candidates(wanted, at)
        return page, CandidateContext.of(tx, page.items)

    page, known = uow.read(look)
    return page, [candidate_resource(candidate, known) for candidate in page.items]


def _every(uow: UnitOfWork, wanted: CandidateQuery) -> Iterator[CandidateResource]:
    def fetch(at: PageRequest) -> Page[CandidateResource]:
        page, items = _page(uow, wanted, at)
        return Page(tuple(items), page.next)

    return every(fetch)


_COLUMNS: tuple[Column[CandidateResource], ...] = (
    ("id", lambda c: c.id),
    ("seq", lambda c: c.seq),
    ("generation", lambda c: c.generation),
    ("arch_id", lambda c: c.arch_id),
    ("genotype", lambda c: " ".join(map(str, c.genotype))),
    ("state", lambda c: c.state.value),
    ("top1", lambda c: c.top1),
    ("test_top1", lambda c: c.test_top1),
    ("device_top1", lambda c: c.device_top1),
    ("device_loss", lambda c: c.device_accuracy and c.device_accuracy.loss),
    ("device_loss_standard_error", lambda c: c.device_accuracy and c.device_accuracy.loss_standard_error),
    ("latency_p50_us", lambda c: c.latency and c.latency.p50_us),
    ("latency_standard_error_us", lambda c: c.latency and c.latency.standard_error_us),
    ("latency_kind", lambda c: c.latency and c.latency.kind),
    ("latency_validity", lambda c: c.latency and c.latency.validity),
    ("macs", lambda c: c.macs),
    ("params", lambda c: c.params),
    ("peak_activation_bytes", lambda c: c.peak_activation_bytes),
    ("latency_key", lambda c: c.latency_key),
    ("model_sha256", lambda c: c.model_sha256),
)


@router.get(
    "/candidates/{candidate_id:id}",
    response_model=CandidateResource,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_candidate(candidate_id: CandidateId, request: Request, uow: UowDep, _: Viewer) -> Response:
    """One candidate."""

    def look(tx: Transaction) -> tuple[Candidate, CandidateContext]:
        candidate = CandidateStore(tx).get_candidate(candidate_id)
        return candidate, CandidateContext.of(tx, [candidate])

    return tagged(request, candidate_resource(*uow.read(look)))


@router.get("/candidates/{candidate_id:id}/evaluations", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_evaluations(
    candidate_id: CandidateId,
    uow: UowDep,
    paging: PagingDep,
    _: Viewer,
    query: Annotated[ListQuery, Query()],
) -> Listing[EvaluationResource]:
    """Every evaluation of a candidate: metric by metric, the highest attempt is the current one."""

    def look(tx: Transaction) -> tuple[tuple[Evaluation, ...], CandidateContext]:
        candidate = CandidateStore(tx).get_candidate(candidate_id)
        return EvaluationStore(tx).evaluations_of_candidates([candidate_id]), CandidateContext.of(tx, [candidate])

    found, known = uow.read(look)
    page = page_in_memory(found, lambda evaluation: evaluation.id, paging.wanted(query))
    items = [evaluation_resource(evaluation, known) for evaluation in page.items]
    return paging.listing(page, items)


@router.get(
    "/candidates/{candidate_id:id}/picture.svg",
    response_class=Response,
    responses={**_SVG, **problems(*COMMON, NOT_FOUND)},
)
def get_candidate_picture(
    candidate_id: CandidateId,
    uow: UowDep,
    spaces: SpaceCatalogDep,
    _: Viewer,
    compared_with: Annotated[
        str | None, Query(max_length=100, description="Id of a second candidate: draws their differences.")
    ] = None,
) -> Response:
    """A picture of the architecture, or of what differs between two."""

    def look(tx: Transaction) -> tuple[Candidate, Candidate | None]:
        other = None if compared_with is None else CandidateStore(tx).get_candidate(compared_with)
        return CandidateStore(tx).get_candidate(candidate_id), other

    candidate, other = uow.read(look)
    try:
        svg = spaces.picture_svg(candidate.record.architecture, None if other is None else other.record.architecture)
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
