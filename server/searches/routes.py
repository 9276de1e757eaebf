"""Searches: tried, started, followed, steered; and what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.errors import EngineError
from nas_engine.domain.metric import Metric
from server.access.auth import LABELS_FIT, Caller, Permitted, QuotasDep, ReferringDocument, check_priority
from server.access.limits.idempotency import ONCE, Once, PermittedOnce, stored_response
from server.access.limits.quotas import Quotas
from server.access.store import PrincipalStore
from server.candidates.candidate import Candidate
from server.candidates.search import Search, SearchQuery
from server.candidates.search_store import SearchStore
from server.candidates.spec import SearchSpec
from server.candidates.states import SearchState
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.finding import words_of
from server.core.http.conditional import NOT_MODIFIED, check_if_match, expected_version, tagged, version_etag
from server.core.http.openapi import COMMON, api_router, json_body, problems
from server.core.http.paging import PagingDep, labels_of
from server.core.http.problem_types import (
    INVALID_PAGE_TOKEN,
    INVALID_SEARCH_SPEC,
    INVALID_STATE_TRANSITION,
    NOT_FOUND,
    PRECONDITION_FAILED,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.provide import UowDep, provided
from server.core.http.resources import Listing, ListQuery
from server.core.idempotency import StoredResponse
from server.jobs.routes import DispatchDep
from server.jobs.spent.spent import TimeSpent
from server.jobs.states import JobKind
from server.latency_tables.batches import Batches
from server.latency_tables.routes import Steering, SteeringDep, batch_path
from server.searches.admission import SpecReport
from server.searches.amending.amendment import SearchAmendment
from server.searches.batches_as_searches import batch_as_search
from server.searches.boards.waiting import search_waits_for
from server.searches.candidate_routes import CandidateContext, SearchesDep, candidate_resource, latency_kind_of
from server.searches.fronts.fronts import Front, Fronts
from server.searches.fronts.schemas import (
    BOARD_WANTED,
    BoardText,
    FrontBoardResource,
    FrontObjectiveResource,
    FrontPointResource,
    FrontResource,
)
from server.searches.history.times import time_of_search, times_of_searches
from server.searches.schemas import (
    CheckpointResource,
    MetricRangeResource,
    ProgressResource,
    SearchAmendmentBody,
    SearchListQuery,
    SearchResource,
    SpecViolationResource,
    UsedPluginResource,
    ValidationReport,
)
from server.searches.searches import Searches
from server.spaces.descriptions import MetricBounds

router = api_router("searches", dependencies=[LABELS_FIT])
BatchesDep = Annotated[Batches, provided(Batches)]
FrontsDep = Annotated[Fronts, provided(Fronts)]
SearchId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
_MOVED: dict[int | str, dict[str, Any]] = {308: {"description": "It is a latency table or its report: go there."}}
_STEER = {**_MOVED, **problems(*COMMON, *ONCE, NOT_FOUND, INVALID_STATE_TRANSITION, PRECONDITION_FAILED)}
_RETRY_AFTER = {"Retry-After": "1"}


@router.post(
    "/searches",
    status_code=202,
    response_model=SearchResource,
    openapi_extra=json_body(SearchSpec),
    responses=problems(*COMMON, *ONCE, INVALID_SEARCH_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def create_search(
    document: ReferringDocument, searches: SearchesDep, uow: UowDep, quotas: QuotasDep, once: PermittedOnce
) -> Response:
    """Start a search. A spec that cannot be run is refused at once, with every reason and the feasible range."""

    spec, because = searches.requested(document)
    check_priority(once.caller, spec.priority)
    return launched(spec, because, searches, uow, quotas, once)


def launched(
    spec: SearchSpec,
    because: str | None,
    searches: Searches,
    uow: UnitOfWork,
    quotas: Quotas,
    once: Once,
    cloned_from: str | None = None,
) -> Response:
    """Start a search for a caller who may start it, and answer with it; arguments as of `Searches.create_search`."""
    searches.look_ahead(spec)  # before the transaction begins

    def action() -> StoredResponse:
        def work(tx: Transaction) -> Search:
            check_quotas(tx, quotas, once.caller, spec)
            return searches.create_search(spec, once.caller.creator, because, cloned_from=cloned_from)

        search = uow.write(work)
        return stored_response(202, search_resource(search), {**_headers(search), **_RETRY_AFTER})

    return once(action)


def check_quotas(
    tx: Transaction, quotas: Quotas, caller: Caller, spec: SearchSpec, amended: Search | None = None
) -> None:
    """Refuse a new search, or an amended one, beyond what its owner may have. Raises QuotaExceededError."""
    owner = caller.creator.owner if amended is None else amended.owner
    if owner is None:
        return
    PrincipalStore(tx).lock_principal(owner.id)
    others = [one for one in SearchStore(tx).open_searches_of(owner.id) if amended is None or one.id != amended.id]
    open_candidates = sum(one.spec.budget.num_candidates for one in others)
    num_open = len(others) + 1 if amended is None else 0
    quotas.settings.check_search(spec.budget.num_candidates, open_candidates, num_open)


@router.post(
    "/searches:validate",
    openapi_extra=json_body(SearchSpec),
    responses=problems(*COMMON, INVALID_SEARCH_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def validate_search(document: ReferringDocument, searches: SearchesDep, caller: Permitted) -> ValidationReport:
    """What a spec would do, without starting it: what is wrong, ranges of the cheap metrics, hardware."""
    spec = searches.requested(document)[0]
    return _report(spec, searches.validate(spec, caller.creator.owner))


@router.get("/searches", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_searches(
    searches: SearchesDep,
    fronts: FrontsDep,
    uow: UowDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[SearchListQuery, Query()],
) -> Listing[SearchResource]:
    """Searches, newest first unless asked otherwise."""
    wanted = SearchQuery(
        states=tuple(query.state),
        labels=labels_of(query.label),
        space_id=query.space,
        supernet_id=query.supernet_id,
        hardware_key=query.hardware_key,
        owner=query.owner,
        words=words_of(query.find),
        newest_first=query.order_by.startswith("-"),
    )
    page = searches.page_of_searches(wanted, paging.wanted(query))
    total = searches.count_searches(wanted) if query.include_total else None
    times = uow.read(lambda tx: times_of_searches(tx, page.items))
    standing = fronts.as_it_stands(page.items)
    items = [search_resource(search, time) for search, time in zip(standing, times, strict=True)]
    return paging.listing(page, items, total)


@router.get(
    "/searches/{search_id:id}",
    response_model=SearchResource,
    responses={**NOT_MODIFIED, **_MOVED, **problems(*COMMON, NOT_FOUND)},
)
def get_search(
    search_id: SearchId,
    request: Request,
    searches: SearchesDep,
    batches: BatchesDep,
    dispatch: DispatchDep,
    fronts: FrontsDep,
    uow: UowDep,
    _: Permitted,
) -> Response:
    """One search; the id of a latency table or of its report is redirected there."""
    batch = batches.find(search_id)
    if batch is not None:
        return RedirectResponse(batch_path(batch), status_code=308)
    (search,) = fronts.as_it_stands([searches.get_search(search_id)])
    resource = search_resource(search, uow.read(lambda tx: time_of_search(tx, search)))
    if not search.state.final:
        reason = search_waits_for(dispatch, search)
        if not reason and search.state is SearchState.QUEUED:  # for its supernet, which a worker trains
            reason = dispatch.no_worker_for(JobKind.TRAIN)
        resource = resource.model_copy(update={"waiting_for": reason})
    resource = resource.model_copy(update={"launched_spec": searches.launched_spec(search.id)})
    return tagged(request, resource, version_etag(search.version))


@router.patch(
    "/searches/{search_id:id}",
    response_model=SearchResource,
    responses=problems(*COMMON, NOT_FOUND, INVALID_SEARCH_SPEC, INVALID_STATE_TRANSITION, PRECONDITION_FAILED),
)
def amend_search(
    search_id: SearchId,
    body: SearchAmendmentBody,
    request: Request,
    searches: SearchesDep,
    uow: UowDep,
    quotas: QuotasDep,
    once: PermittedOnce,
) -> Response:
    """Change budget, priority or labels of a search under way; If-Match keeps two people from undoing each other."""

    def action() -> StoredResponse:
        check_priority(once.caller, body.priority)
        amendment = SearchAmendment(num_candidates=body.num_candidates, priority=body.priority, labels=body.labels)

        def work(tx: Transaction) -> Search:
            amended = searches.amend(search_id, amendment, expected_version(request), once.caller.creator)
            if amendment.num_candidates is not None:
                check_quotas(tx, quotas, once.caller, amended.spec, amended)
            return amended

        search = uow.write(work)
        return stored_response(200, search_resource(search), {"ETag": version_etag(search.version)})

    return once(action)


@router.post("/searches/{search_id:id}:pause", status_code=202, response_model=SearchResource, responses=_STEER)
def pause_search(
    search_id: SearchId, request: Request, searches: SearchesDep, steering: SteeringDep, once: PermittedOnce
) -> Response:
    """Ask no more candidates; what is in flight ends first. The state follows the desired state."""
    return _steer(search_id, request, searches, once, searches.pause, steering, steering.pause)


@router.post("/searches/{search_id:id}:resume", status_code=202, response_model=SearchResource, responses=_STEER)
def resume_search(
    search_id: SearchId, request: Request, searches: SearchesDep, steering: SteeringDep, once: PermittedOnce
) -> Response:
    """Go on where a pause stopped."""
    return _steer(search_id, request, searches, once, searches.resume, steering, steering.resume)


@router.post("/searches/{search_id:id}:cancel", status_code=202, response_model=SearchResource, responses=_STEER)
def cancel_search(
    search_id: SearchId, request: Request, searches: SearchesDep, steering: SteeringDep, once: PermittedOnce
) -> Response:
    """End a search; it cannot be resumed. What was measured stays."""
    return _steer(search_id, request, searches, once, searches.cancel, steering, steering.cancel)


@router.get(
    "/searches/{search_id:id}/front",
    response_model=FrontResource,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_front(
    search_id: SearchId,
    request: Request,
    fronts: FrontsDep,
    uow: UowDep,
    _: Permitted,
    include_dominated: Annotated[bool, Query(description="Also the other complete candidates.")] = False,
    dominance: Annotated[
        Dominance | None,
        Query(description="Compare by values, or by 95 % confidence intervals; absent: as the search's spec says."),
    ] = None,
    max_dominated: Annotated[
        int, Query(ge=1, le=10_000, description="If there are more of them, every second, third, ... is shown.")
    ] = 1000,
    board: Annotated[BoardText | None, Query(description=BOARD_WANTED)] = None,
) -> Response:
    """The Pareto front over every complete feasible candidate, as it stands now; also while the search runs."""
    front = fronts.of_search(
        search_id, with_dominated=include_dominated, max_dominated=max_dominated, dominance=dominance, board=board
    )
    shown = (*front.points, *front.dominated)
    known = uow.read(lambda tx: CandidateContext.of(tx, shown))
    return tagged(request, _front(front, known))


@router.get("/searches/{search_id:id}/checkpoints", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_checkpoints(
    search_id: SearchId,
    searches: SearchesDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[CheckpointResource]:
    """The algorithm's last states, newest first."""
    page = searches.page_of_checkpoints(search_id, paging.wanted(query))
    items = [CheckpointResource.of(checkpoint) for checkpoint in page.items]
    return paging.listing(page, items)


def _steer(
    search_id: str,
    request: Request,
    searches: Searches,
    once: Once,
    change: Callable[[str], Search],
    steering: Steering,
    change_batch: Callable[[str], object],
) -> Response:
    """Change a search; or a latency table or report, which clients of the first release steer as searches."""
    batches = steering.batches

    def action() -> StoredResponse:
        if (batch := batches.find(search_id)) is not None:
            check_if_match(request, version_etag(batch.version))
            change_batch(search_id)
            search = batch_as_search(batches.find(search_id) or batch)
        else:
            check_if_match(request, version_etag(searches.get_search(search_id).version))
            search = change(search_id)
        return stored_response(202, search_resource(search), _headers(search))

    return once(action)


def search_resource(search: Search, time: TimeSpent | None = None) -> SearchResource:
    """One search, with its budget beside what it has done of it, and how long it takes where that is told."""
    return SearchResource.of(
        search,
        search.spec,
        progress=ProgressResource.of(search.progress, search.spec.budget),
        end_reason=search.progress.end_reason,
        chosen_because=search.progress.chosen_because,
        warnings=search.progress.warnings,
        plugins=[UsedPluginResource.of(used, used.provider, door=used.door.value) for used in search.plugins],
        time=time,
    )


def _report(spec: SearchSpec, report: SpecReport) -> ValidationReport:
    return ValidationReport.of(
        report,
        valid=not report.violations,
        violations=[SpecViolationResource.of(violation, detail=violation.message) for violation in report.violations],
        spec=spec,
        metric_ranges=list(_metric_ranges(report.bounds)),
        hardware_key=None if report.hardware is None else report.hardware.hardware_key,
        board_hardware_keys={name: one.hardware_key for name, one in report.board_hardware.items()},
    )


def _metric_ranges(bounds: Mapping[Metric, MetricBounds]) -> Iterator[MetricRangeResource]:
    for metric in bounds:
        try:
            yield MetricRangeResource.of(bounds[metric], metric=metric)
        except EngineError:  # a metric of a package at fault: the violations name it where the spec wants it
            continue


def _front(front: Front, known: CandidateContext) -> FrontResource:
    """A front: what its latencies are is said once for all of them, and again at each."""

    def point(candidate: Candidate) -> FrontPointResource:
        return FrontPointResource(
            candidate=candidate_resource(candidate, known),
            values=list(front.values(candidate)),
            uncertainties=[candidate.current[objective.metric].uncertainty for objective in front.objectives],
        )

    return FrontResource.of(
        front,
        front.search,
        search_id=front.search.id,
        objectives=[FrontObjectiveResource.of_objective(objective) for objective in front.objectives],
        latency_kind=latency_kind_of(front),
        hardware_key=None if front.hardware is None else front.hardware.hardware_key,
        device_class=None if front.hardware is None else front.hardware.key.identity.device_class,
        points=[point(candidate) for candidate in front.points],
        dominated=[point(candidate) for candidate in front.dominated],
        boards=[FrontBoardResource.of_board(*one) for one in front.boards],
    )


def _headers(search: Search) -> dict[str, str]:
    return {"Location": f"/api/v1/searches/{search.id}", "ETag": version_etag(search.version)}
