"""Candidates of a search, their evaluations and their pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.domain.errors import EngineError
from nas_engine.domain.measurement import worst_of
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import BUILT_IN, DEVICE_TOP1, LATENCY_US, is_evaluated, is_latency
from nas_engine.domain.plugins.doors import Door, own_provider
from nas_engine.domain.uncertainty import Interval, quantity_text, uncertain_text
from server.access.auth import Permitted
from server.candidates.candidate import Candidate, CandidateQuery, Evaluation, MetricBound
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search, UsedPlugin
from server.candidates.search_store import SearchStore
from server.candidates.spec import SearchSpec
from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationRecord
from server.classifying.schemas import DeviceAccuracyValue
from server.classifying.store import ClassificationStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.finding import words_of
from server.core.http.conditional import NOT_MODIFIED, tagged
from server.core.http.exports import EXPORTS, Column, csv_response, every, ndjson_response
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep, page_in_memory
from server.core.http.problem_handlers import architecture_problem
from server.core.http.problem_types import INVALID_PAGE_TOKEN, NOT_ACCEPTABLE, NOT_FOUND
from server.core.http.provide import UowDep, provided
from server.core.http.requests import CSV, JSON, NDJSON, preferred
from server.core.http.resources import Listing, ListQuery
from server.core.paging import Page, PageRequest
from server.fleet.device import HardwareProfile
from server.fleet.store import HardwareStore
from server.measuring.measurement import measurement_kind
from server.measuring.store import MeasurementStore
from server.searches.answers.answer import intervals_of, measured_intervals
from server.searches.candidate_schemas import (
    TABLE_SOURCE,
    CandidateListQuery,
    CandidateResource,
    EvaluationResource,
    LatencyValue,
    MetricValueResource,
    bound_of,
)
from server.searches.fronts.fronts import Front
from server.searches.schemas import UsedPluginResource
from server.searches.searches import Searches
from server.spaces.routes import SpaceCatalogDep

router = api_router("candidates")
SearchesDep = Annotated[Searches, provided(Searches)]
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
    _: Permitted,
    query: Annotated[CandidateListQuery, Query()],
) -> Response:
    """Candidates of a search: filtered and sorted by any metric."""
    search = searches.get_search(search_id)
    wanted = _query(search, query)
    match preferred(request, JSON, CSV, NDJSON):
        case "text/csv":
            columns = (*_COLUMNS, *_columns_of(search.spec.metrics()))
            return csv_response(columns, _every(uow, wanted, search))
        case "application/x-ndjson":
            return ndjson_response(_every(uow, wanted, search))
        case _:
            page, items = _page(uow, wanted, paging.wanted(query), search)
            total = uow.read(lambda tx: CandidateStore(tx).count_candidates(wanted)) if query.include_total else None
            return paging.answer(page, items, total)


def _page(
    uow: UnitOfWork, wanted: CandidateQuery, at: PageRequest, search: Search
) -> tuple[Page[Candidate], list[CandidateResource]]:
    def look(tx: Transaction) -> tuple[Page[Candidate], CandidateContext]:
        page = CandidateStore(tx).page_of_candidates(wanted, at)
        return page, CandidateContext.of(tx, page.items, search)

    page, known = uow.read(look)
    return page, [candidate_resource(candidate, known) for candidate in page.items]


def _every(uow: UnitOfWork, wanted: CandidateQuery, search: Search) -> Iterator[CandidateResource]:
    def fetch(at: PageRequest) -> Page[CandidateResource]:
        page, items = _page(uow, wanted, at, search)
        return Page(tuple(items), page.next)

    return every(fetch)


def _field(name: str) -> Column[CandidateResource]:
    return name, attrgetter(name)


_WITH_FIELDS = tuple(one for one in BUILT_IN if one.name in CandidateResource.model_fields)
"""Metrics that candidates of REST have a field of their own for; all others stand in `values`."""

_COLUMNS: tuple[Column[CandidateResource], ...] = (
    ("id", lambda c: c.id),
    ("seq", lambda c: c.seq),
    ("generation", lambda c: c.generation),
    ("arch_id", lambda c: c.arch_id),
    ("genotype", lambda c: " ".join(map(str, c.genotype))),
    ("state", lambda c: c.state.value),
    *(_field(one.name) for one in _WITH_FIELDS if not one.is_cheap),
    ("device_loss", lambda c: c.device_accuracy and c.device_accuracy.loss),
    ("device_loss_standard_error", lambda c: c.device_accuracy and c.device_accuracy.loss_standard_error),
    ("latency_p50_us", lambda c: c.latency and c.latency.p50_us),
    ("latency_standard_error_us", lambda c: c.latency and c.latency.standard_error_us),
    ("latency_low_us", lambda c: c.latency and c.latency.low_us),
    ("latency_high_us", lambda c: c.latency and c.latency.high_us),
    ("latency_kind", lambda c: c.latency and c.latency.kind),
    ("latency_validity", lambda c: c.latency and c.latency.validity),
    *(_field(one.name) for one in _WITH_FIELDS if one.is_cheap),
    ("latency_key", lambda c: c.latency_key),
    ("model_sha256", lambda c: c.model_sha256),
    ("expected_gain", lambda c: c.expected_gain),
)


def _columns_of(metrics: Iterable[Metric]) -> Iterator[Column[CandidateResource]]:
    """Value and standard error of each metric of a search that has no columns of its own."""

    def cell(name: str, member: str) -> Callable[[CandidateResource], object]:
        return lambda c: next((getattr(one, member) for one in c.values if one.name == name), None)

    named = {name for name, _ in _COLUMNS}
    for metric in metrics:
        if metric.name not in named and metric != LATENCY_US:
            yield metric.name, cell(metric.name, "value")
            yield f"{metric.name}_standard_error", cell(metric.name, "uncertainty")


@router.get(
    "/candidates/{candidate_id:id}",
    response_model=CandidateResource,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_candidate(candidate_id: CandidateId, request: Request, uow: UowDep, _: Permitted) -> Response:
    """Read a candidate with its values and its latency."""

    def look(tx: Transaction) -> tuple[Candidate, CandidateContext]:
        candidate = CandidateStore(tx).get_candidate(candidate_id)
        return candidate, CandidateContext.of(tx, [candidate])

    return tagged(request, candidate_resource(*uow.read(look)))


@router.get("/candidates/{candidate_id:id}/evaluations", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_evaluations(
    candidate_id: CandidateId,
    uow: UowDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[EvaluationResource]:
    """Every evaluation of a candidate: metric by metric, in the order they were taken."""

    def look(tx: Transaction) -> tuple[list[EvaluationResource], Page[Evaluation]]:
        candidate = CandidateStore(tx).get_candidate(candidate_id)
        found = EvaluationStore(tx).evaluations_of_candidates([candidate_id])
        page = page_in_memory(found, lambda evaluation: evaluation.id, paging.wanted(query))
        return evaluation_resources(tx, page.items, CandidateContext.of(tx, [candidate])), page

    items, page = uow.read(look)
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
    _: Permitted,
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


@dataclass(frozen=True, slots=True)
class CandidateContext:
    """What a candidate alone does not know.

    Attributes:
        hardware: that latencies of a search are filed under, by search and metric; none of what is from a table.
        plugins: what packages bring to a search, by search.
        classifications: what a device answered to test images, by candidate; the newest.
        latencies: intervals that the samples of current latencies gave, by candidate and metric: a standard error knows
            no side.
    """

    hardware: Mapping[str, Mapping[Metric, HardwareProfile]]
    plugins: Mapping[str, tuple[UsedPlugin, ...]]
    classifications: Mapping[str, ClassificationRecord]
    latencies: Mapping[str, Mapping[Metric, Interval]]

    @classmethod
    def of(
        cls, transaction: Transaction, candidates: Sequence[Candidate], read_search: Search | None = None
    ) -> CandidateContext:
        """Read it for some candidates, in one query per kind of thing; `read_search` is not read again."""
        searches = {} if read_search is None else {read_search.id: read_search}
        hardware: dict[str, Mapping[Metric, HardwareProfile]] = {}
        plugins: dict[str, tuple[UsedPlugin, ...]] = {}
        for search_id in {candidate.search_id for candidate in candidates}:
            search = searches.get(search_id) or SearchStore(transaction).get_search(search_id)
            plugins[search_id] = search.plugins
            keys = {board.metric: search.hardware_key_on(board) for board in search.spec.all_boards()}
            keys.setdefault(LATENCY_US, search.hardware_key)
            hardware[search_id] = {
                metric: HardwareStore(transaction).get_hardware(key) for metric, key in keys.items() if key is not None
            }
        classified_ids = [candidate.id for candidate in candidates if DEVICE_TOP1 in candidate.current]
        answers = ClassificationStore(transaction).classifications_of_candidates(classified_ids)
        # Ordered by age: the last one stays.
        return cls(
            hardware,
            plugins,
            {record.candidate_id: record for record in answers if record.candidate_id is not None},
            measured_intervals(transaction, candidates),
        )


def candidate_resource(candidate: Candidate, known: CandidateContext) -> CandidateResource:
    """One candidate: its latency with kind, validity and uncertainty."""
    intervals = intervals_of(candidate, known.latencies.get(candidate.id, {}))
    members = dict(zip(_AS_IT_IS, _as_it_is(candidate), strict=True))
    members |= CandidateResource.of_metrics({metric.name: one.value for metric, one in candidate.current.items()})
    members |= {
        "genotype": list(candidate.genotype),
        "architecture": candidate.record.architecture.choices_value(),
        "values": [MetricValueResource.of_value(one, intervals[metric]) for metric, one in candidate.current.items()],
        "device_accuracy": _device_accuracy(known.classifications.get(candidate.id)),
        "latency": _latency(candidate, known, intervals),
    }
    return CandidateResource.of_stored(**members)


_AS_IT_IS = tuple(name for name in CandidateResource.model_fields if hasattr(Candidate, name))
"""Fields of the resource that are fields or properties of the candidate."""

_as_it_is = attrgetter(*_AS_IT_IS)


def _device_accuracy(record: ClassificationRecord | None) -> DeviceAccuracyValue | None:
    """Read the accuracy on the device; None where no device classified with the model."""
    if record is None or record.device_class is None:
        return None
    loss = record.loss
    return DeviceAccuracyValue.of(
        record,
        classification_id=record.id,
        top1=record.top1.value,
        standard_error=record.top1.standard_error,
        kind=measurement_kind(record.device_class),
        loss=None if loss is None else loss.value,
        loss_standard_error=None if loss is None else loss.standard_error,
        agreement=None if loss is None else loss.agreement,
        text=uncertain_text(record.top1.value, record.top1.standard_error, "fraction"),
        loss_text=None if loss is None else uncertain_text(loss.value, loss.standard_error, "fraction", signed=True),
    )


def _latency(
    candidate: Candidate, known: CandidateContext, intervals: Mapping[Metric, Interval]
) -> LatencyValue | None:
    latency = candidate.current.get(LATENCY_US)
    if latency is None:
        return None
    hardware, interval = known.hardware.get(candidate.search_id, {}).get(LATENCY_US), intervals[LATENCY_US]
    return LatencyValue.of_stored(
        p50_us=latency.value,
        standard_error_us=latency.uncertainty,
        low_us=interval.low,
        high_us=interval.high,
        text=quantity_text(interval, "us"),
        kind=latency_kind(hardware),
        device_class=None if hardware is None else hardware.key.identity.device_class,
        validity=worst_of(latency.flags),
        flags=list(latency.flags),
    )


def latency_kind(hardware: HardwareProfile | None) -> str:
    """What the latencies of a search are: it has hardware, or reads them from a table."""
    return TABLE_SOURCE if hardware is None else measurement_kind(hardware.key.identity.device_class).value


def latency_kind_of(front: Front) -> str | None:
    """What the latencies of a front are said to be at once; None where none are wanted, or each board's by itself."""
    one_board = len(front.boards) == 1
    return latency_kind(front.hardware) if one_board or LATENCY_US in front.search.spec.metrics() else None


def evaluation_resources(
    tx: Transaction, found: Sequence[Evaluation], known: CandidateContext
) -> list[EvaluationResource]:
    """Evaluations of candidates, latencies with the interval that the samples of each gave."""
    behind = {one.measurement_id for one in found if is_latency(one.metric) and one.measurement_id is not None}
    latencies = MeasurementStore(tx).intervals_of_measurements(behind)
    return [_evaluation(one, known, latencies.get(one.measurement_id or "")) for one in found]


def _evaluation(evaluation: Evaluation, known: CandidateContext, measured: Interval | None) -> EvaluationResource:
    """One evaluation with the packages behind it; of a latency, what kind of number it is and which engine gave it."""
    provider = evaluation.provider
    hardware = known.hardware.get(evaluation.search_id, {}).get(evaluation.metric)
    engine = {} if hardware is None else dict(hardware.key.identity.runtime_versions)
    doors = {Door.SPACES}
    not_here = (EvaluationSource.TABLE, EvaluationSource.EXTERNAL)
    if is_evaluated(evaluation.metric) and evaluation.source not in not_here:
        doors.add(Door.DATASETS)
    used = [one for one in known.plugins.get(evaluation.search_id, ()) if one.door in doors]
    if provider is not None and provider.package != own_provider().package:
        used.append(UsedPlugin(door=Door.METRICS, name=evaluation.metric.name, provider=provider))
    return EvaluationResource.of(
        evaluation,
        kind=latency_kind(hardware) if is_latency(evaluation.metric) else None,
        text=quantity_text(
            measured or Interval.of_error(evaluation.value, evaluation.uncertainty), evaluation.metric.unit
        ),
        package=None if provider is None else provider.package,
        package_version=None if provider is None else provider.version,
        plugins=[UsedPluginResource.of(one, one.provider, door=one.door.value) for one in used],
        runtime_versions=engine,
    )


def _query(search: Search, query: CandidateListQuery) -> CandidateQuery:
    found = (bound_of(text, search.spec) for text in query.metric)
    bounds = tuple(MetricBound(metric=metric, minimum=low, maximum=high) for metric, low, high in found)
    return CandidateQuery(
        search_id=search.id,
        states=tuple(query.state),
        arch_id=query.arch_id,
        generation=query.generation,
        words=words_of(query.find),
        bounds=bounds,
        order=candidate_order(query, search.spec),
        descending=query.order_by.startswith("-"),
    )


def candidate_order(query: CandidateListQuery, spec: SearchSpec) -> Metric | None:
    """The metric that a list is sorted by; None where it is by number.

    Raises:
        InvalidValueError: the search has no such metric.
    """
    name = query.order_by.removeprefix("-")
    return None if name == "seq" else spec.searched_metric(name)
