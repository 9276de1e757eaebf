"""The pages. What they show are the API's own resources: every number here has an API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.domain.measurement import DeviceClass
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import is_searched
from server.access.auth import Caller, identify, permit
from server.access.permissions import Owners
from server.candidates.candidate import Candidate, CandidateQuery
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search, SearchQuery
from server.candidates.search_store import SearchStore
from server.candidates.states import CandidateState
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.http.paging import PagingDep
from server.core.http.provide import UowDep, provided
from server.core.http.requests import resolve_references
from server.core.http.resources import ListQuery
from server.core.paging import MAX_PAGE_SIZE, PageRequest
from server.fleet.device import Device, DeviceQuery
from server.fleet.routes import DevicesDep, device_resource
from server.fleet.store import DeviceStore
from server.jobs.queue import JobStore
from server.jobs.routes import DispatchDep
from server.measuring.measurement import MeasurementKind, MeasurementQuery
from server.measuring.routes import LatenciesDep
from server.measuring.schemas import MeasurementResource
from server.searches.boards.waiting import search_waits_for
from server.searches.candidate_routes import (
    CandidateContext,
    SearchesDep,
    candidate_order,
    candidate_resource,
    evaluation_resources,
)
from server.searches.candidate_schemas import CandidateListQuery, CandidateResource, EvaluationResource
from server.searches.fronts.fronts import Fronts
from server.searches.routes import FrontsDep, search_resource
from server.searches.schemas import SearchResource
from server.searches.searches import Searches
from server.shipping.bundles import probe_of
from server.spaces.routes import SpaceCatalogDep
from server.studies.routes import RankingStudiesDep
from server.studies.schemas import RankingStudyResource
from server.studies.study import StudyQuery
from server.training.model_routes import DeployableModelsDep
from server.training.networks.routes import NetworksDep
from server.training.networks.schemas import network_resource
from server.training.routes import SupernetsDep
from server.training.schemas import DeployableModelResource, SupernetResource
from server.training.training import TrainingQuery
from server.web.candidate_facts import candidate_facts
from server.web.rendering import page

router = APIRouter(include_in_schema=False)
_LIST = PageRequest(50)
_FLEET = PageRequest(200)


def _permitted(request: Request, owners: Annotated[Owners, provided(Owners)]) -> Caller:
    caller = identify(request, None)
    resolve_references(request)
    return permit(request, caller, owners)


Permitted = Annotated[Caller, Depends(_permitted)]


@router.get("/")
def show_searches(
    request: Request,
    supernets: SupernetsDep,
    networks: NetworksDep,
    studies: RankingStudiesDep,
    searches: SearchesDep,
    fronts: FrontsDep,
    _: Permitted,
) -> Response:
    """Searches, supernets, networks and ranking studies, newest first."""
    values = {
        "searches": _searches(searches, fronts),
        "supernets": [
            SupernetResource.of(one, one.spec)
            for one in supernets.page_of_trainings(TrainingQuery(), PageRequest(20)).items
        ],
        "networks": [
            network_resource(one) for one in networks.page_of_trainings(TrainingQuery(), PageRequest(20)).items
        ],
        "studies": [
            RankingStudyResource.of(one, one.spec)
            for one in studies.page_of_studies(StudyQuery(), PageRequest(20)).items
        ],
    }
    return page(request, "searches.html", values)


@router.get("/fragments/searches")
def show_searches_table(request: Request, searches: SearchesDep, fronts: FrontsDep, _: Permitted) -> Response:
    """The table alone, for refreshing."""
    return page(request, "_searches.html", {"searches": _searches(searches, fronts)})


@router.get("/searches/{search_id:id}")
def show_search(
    search_id: str, request: Request, searches: SearchesDep, fronts: FrontsDep, dispatch: DispatchDep, _: Permitted
) -> Response:
    """One search: progress, front, candidates, controls."""
    (search,) = fronts.as_it_stands([searches.get_search(search_id)])
    amendments = searches.page_of_amendments(search.id, PageRequest(MAX_PAGE_SIZE)).items
    values = {
        "search": search_resource(search),
        "final": search.state.final,
        "waiting_for": "",
        "amendments": amendments,
    }
    if not search.state.final:
        values["waiting_for"] = search_waits_for(dispatch, search)
    return page(request, "search.html", values)


@router.get("/fragments/searches/{search_id:id}/waiting")
def show_waiting(
    search_id: str, request: Request, searches: SearchesDep, dispatch: DispatchDep, _: Permitted
) -> Response:
    """The board that a search waits for, for refreshing: none of its own events says that one has gone."""
    search = searches.get_search(search_id)
    return page(request, "_waiting.html", {"waiting_for": search_waits_for(dispatch, search)})


@router.get("/fragments/searches/{search_id:id}/progress")
def show_progress(search_id: str, request: Request, searches: SearchesDep, fronts: FrontsDep, _: Permitted) -> Response:
    """State and progress alone, for refreshing."""
    (search,) = fronts.as_it_stands([searches.get_search(search_id)])
    return page(request, "_progress.html", {"search": search_resource(search), "final": search.state.final})


@router.get("/fragments/searches/{search_id:id}/candidates")
def show_candidates(
    search_id: str,
    request: Request,
    paging: PagingDep,
    uow: UowDep,
    _: Permitted,
    query: Annotated[CandidateListQuery, Query()],
) -> Response:
    """A page of the candidates' table."""
    spec = uow.read(lambda tx: SearchStore(tx).get_search(search_id)).spec
    order, descending = candidate_order(query, spec), query.order_by.startswith("-")
    wanted = CandidateQuery(search_id=search_id, order=order, descending=descending)
    at = paging.wanted(query)

    def look(tx: Transaction) -> tuple[list[CandidateResource], list[Metric], str | None]:
        found = CandidateStore(tx).page_of_candidates(wanted, at)
        known = CandidateContext.of(tx, found.items)
        named = spec.metrics()
        others = (metric for one in found.items for metric in one.current if is_searched(metric))
        shown = [candidate_resource(one, known) for one in found.items]
        return shown, [*dict.fromkeys((*named, *others))], paging.next_token(found)

    candidates, metrics, token = uow.read(look)
    values = {
        "candidates": candidates,
        "metrics": metrics,
        "search_id": search_id,
        "order_by": query.order_by,
        "next_page_token": token,
    }
    return page(request, "_candidates.html", values)


@router.get("/candidates/{candidate_id:id}")
def show_candidate(
    candidate_id: str,
    request: Request,
    uow: UowDep,
    spaces: SpaceCatalogDep,
    deployables: DeployableModelsDep,
    _: Permitted,
) -> Response:
    """One candidate: picture, values, evaluations, downloads."""

    def look(tx: Transaction) -> tuple[Candidate, CandidateResource, list[EvaluationResource], Search]:
        candidate = CandidateStore(tx).get_candidate(candidate_id)
        evaluations = EvaluationStore(tx).evaluations_of_candidates([candidate_id])
        known = CandidateContext.of(tx, [candidate])
        shown = candidate_resource(candidate, known)
        search = SearchStore(tx).get_search(candidate.search_id)
        return candidate, shown, evaluation_resources(tx, evaluations, known), search

    candidate, shown, evaluations, search = uow.read(look)
    has_supernet = search.supernet_version_id is not None
    has_picture = spaces.input_shape(candidate.record.architecture) is not None
    models = [DeployableModelResource.of(one) for one in deployables.of_candidate(candidate_id)]
    probe = probe_of(uow, candidate)
    can_export = not models and candidate.state is CandidateState.COMPLETE and has_supernet
    values = {
        "candidate": shown,
        "facts": candidate_facts(shown, [metric.name for metric in search.spec.metrics()]),
        "evaluations": evaluations,
        "has_picture": has_picture,
        "models": models,
        "can_export": can_export,
        "probe": probe,
    }
    return page(request, "candidate.html", values)


@router.get("/fleet")
def show_fleet(request: Request, uow: UowDep, _: Permitted) -> Response:
    """Boards, and what waits for them."""
    return page(request, "fleet.html", _fleet(uow))


@router.get("/fragments/fleet")
def show_fleet_table(request: Request, uow: UowDep, _: Permitted) -> Response:
    """The table alone, for refreshing."""
    return page(request, "_fleet.html", _fleet(uow))


class LatencyFilter(ListQuery):
    """What the latency explorer shows."""

    device_type: str = ""
    arch_id: str = ""
    search_id: str = ""
    device_class: str = ""
    kind: str = "measured"


@router.get("/latencies")
def show_latencies(
    request: Request,
    latencies: LatenciesDep,
    paging: PagingDep,
    devices: DevicesDep,
    _: Permitted,
    query: Annotated[LatencyFilter, Query()],
) -> Response:
    """The latency explorer: one kind of number at a time."""
    known_classes = [one.value for one in DeviceClass]
    kinds = [one.value for one in MeasurementKind]
    wanted = MeasurementQuery(
        device_type=query.device_type or None,
        arch_id=query.arch_id or None,
        search_id=query.search_id or None,
        device_class=DeviceClass(query.device_class) if query.device_class in known_classes else None,
        kinds=(MeasurementKind(query.kind if query.kind in kinds else "measured"),),
    )
    found = latencies.page_of_measurements(wanted, paging.wanted(query))
    chosen = {"device_type": query.device_type, "arch_id": query.arch_id, "search_id": query.search_id}
    chosen |= {"device_class": query.device_class, "kind": wanted.kinds[0].value}
    filters = urlencode({name: value for name, value in chosen.items() if value})
    values = {
        "measurements": [MeasurementResource.of(record) for record in found.items],
        "chosen": chosen,
        "filters": filters,
        "kinds": kinds,
        "device_classes": known_classes,
        "device_types": sorted(devices.types()),
        "next_page_token": paging.next_token(found),
    }
    return page(request, "latencies.html", values)


@router.get("/api-reference")
def show_api(request: Request, _: Permitted) -> Response:
    """Every request of the API, by what it is about, from the document that the server itself gives."""
    groups: dict[str, list[dict[str, str]]] = {}
    for path, methods in request.app.openapi()["paths"].items():
        for method, operation in methods.items():
            if "operationId" not in operation:  # what all methods of a path have in common
                continue
            what = str(operation.get("description") or operation.get("summary") or "")
            shown = {"method": method.upper(), "path": path, "what": what.partition("\n\n")[0]}
            groups.setdefault(str((operation.get("tags") or ["other"])[0]), []).append(shown)
    return page(request, "api.html", {"groups": groups})


def _searches(searches: Searches, fronts: Fronts) -> list[SearchResource]:
    found = searches.page_of_searches(SearchQuery(), _LIST).items
    return [search_resource(search) for search in fronts.as_it_stands(found)]


def _fleet(uow: UnitOfWork) -> dict[str, object]:
    def look(tx: Transaction) -> tuple[tuple[Device, ...], datetime]:
        return DeviceStore(tx).page_of_devices(DeviceQuery(), _FLEET).items, tx.now()

    devices, now = uow.read(look)
    depths = uow.read(lambda tx: JobStore(tx).queue_depths())
    return {"devices": [device_resource(device, now) for device in devices], "depths": depths}
