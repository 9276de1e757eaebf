"""The pages. What they show comes from the API's own presenters: every number here has an API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.domain.measurement import DeviceClass
from server.access.auth import Caller, check_role, identify
from server.access.token import Role
from server.bootstrap.http_context import ApiContext, Context
from server.candidates.candidate import Candidate, CandidateOrder, CandidateQuery
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import SearchQuery
from server.core.database.transaction import Transaction
from server.core.http.listing import bound_query, page_request
from server.core.http.queries import ListQuery
from server.core.paging import PageRequest, Position
from server.fleet.device import Device, DeviceQuery
from server.fleet.presenter import device_resource
from server.fleet.store import DeviceStore
from server.jobs.queue import JobStore
from server.measuring.measurement import MeasurementKind, MeasurementQuery
from server.measuring.presenter import measurement_resource
from server.searches.candidate_presenter import CandidateContext, candidate_resource, evaluation_resource
from server.searches.candidate_schemas import CandidateListQuery, CandidateResource, EvaluationResource
from server.searches.presenter import search_resource
from server.searches.schemas import SearchResource
from server.studies.presenter import study_resource
from server.studies.study import StudyQuery
from server.training.model_presenter import model_resource
from server.training.presenter import supernet_resource
from server.training.supernet import SupernetQuery
from server.web.rendering import page

router = APIRouter(include_in_schema=False)
_LIST = PageRequest(50)
_FLEET = PageRequest(200)


def _viewer(request: Request, context: Context) -> Caller:
    return check_role(identify(request, context, None), Role.VIEWER)


Viewer = Annotated[Caller, Depends(_viewer)]


@router.get("/")
def show_searches(request: Request, context: Context, _: Viewer) -> Response:
    """Searches and supernets, newest first."""
    supernets = [supernet_resource(one) for one in context.supernets.page(SupernetQuery(), PageRequest(20)).items]
    studies = [study_resource(one) for one in context.ranking_studies.page(StudyQuery(), PageRequest(20)).items]
    values = {"searches": _searches(context), "supernets": supernets, "studies": studies}
    return page(request, "searches.html", values)


@router.get("/fragments/searches")
def show_searches_table(request: Request, context: Context, _: Viewer) -> Response:
    """The table alone, for refreshing."""
    return page(request, "_searches.html", {"searches": _searches(context)})


@router.get("/searches/{search_id:id}")
def show_search(search_id: str, request: Request, context: Context, _: Viewer) -> Response:
    """One search: progress, front, candidates, controls."""
    search = context.searches.get(search_id)
    return page(request, "search.html", {"search": search_resource(search), "final": search.state.final})


@router.get("/fragments/searches/{search_id:id}/progress")
def show_progress(search_id: str, request: Request, context: Context, _: Viewer) -> Response:
    """State and progress alone, for refreshing."""
    search = context.searches.get(search_id)
    return page(request, "_progress.html", {"search": search_resource(search), "final": search.state.final})


@router.get("/fragments/searches/{search_id:id}/candidates")
def show_candidates(
    search_id: str, request: Request, context: Context, _: Viewer, query: Annotated[CandidateListQuery, Query()]
) -> Response:
    """A page of the candidates' table."""
    order = CandidateOrder(query.order_by.removeprefix("-"))
    wanted = CandidateQuery(search_id=search_id, order=order, descending=query.order_by.startswith("-"))
    at = page_request(request, query, context.page_tokens)

    def look(tx: Transaction) -> tuple[list[CandidateResource], str | None]:
        found = CandidateStore(tx).page(wanted, at)
        known = CandidateContext.of(tx, found.items)
        token = _next_token(request, context, found.next)
        return [candidate_resource(one, known) for one in found.items], token

    candidates, token = context.uow.read(look)
    values = {"candidates": candidates, "search_id": search_id, "order_by": query.order_by, "next_page_token": token}
    return page(request, "_candidates.html", values)


@router.get("/candidates/{candidate_id:id}")
def show_candidate(candidate_id: str, request: Request, context: Context, _: Viewer) -> Response:
    """One candidate: picture, values, evaluations, downloads."""

    def look(tx: Transaction) -> tuple[Candidate, CandidateResource, list[EvaluationResource]]:
        candidate = CandidateStore(tx).get(candidate_id)
        evaluations = EvaluationStore(tx).of_candidates([candidate_id])
        known = CandidateContext.of(tx, [candidate])
        shown = candidate_resource(candidate, known)
        return candidate, shown, [evaluation_resource(one, known) for one in evaluations]

    candidate, shown, evaluations = context.uow.read(look)
    has_picture = context.spaces.input_shape(candidate.record.architecture) is not None
    models = [model_resource(one) for one in context.deployables.of_candidate(candidate_id)]
    values = {"candidate": shown, "evaluations": evaluations, "has_picture": has_picture, "models": models}
    return page(request, "candidate.html", values)


@router.get("/fleet")
def show_fleet(request: Request, context: Context, _: Viewer) -> Response:
    """Boards, and what waits for them."""
    return page(request, "fleet.html", _fleet(context))


@router.get("/fragments/fleet")
def show_fleet_table(request: Request, context: Context, _: Viewer) -> Response:
    """The table alone, for refreshing."""
    return page(request, "_fleet.html", _fleet(context))


class LatencyFilter(ListQuery):
    """What the latency explorer shows."""

    device_type: str = ""
    arch_id: str = ""
    search_id: str = ""
    device_class: str = ""
    kind: str = "measured"


@router.get("/latencies")
def show_latencies(request: Request, context: Context, _: Viewer, query: Annotated[LatencyFilter, Query()]) -> Response:
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
    found = context.latencies.page(wanted, page_request(request, query, context.page_tokens))
    chosen = {"device_type": query.device_type, "arch_id": query.arch_id, "search_id": query.search_id}
    chosen |= {"device_class": query.device_class, "kind": wanted.kinds[0].value}
    filters = urlencode({name: value for name, value in chosen.items() if value})
    values = {
        "measurements": [measurement_resource(record) for record in found.items],
        "chosen": chosen,
        "filters": filters,
        "kinds": kinds,
        "device_classes": known_classes,
        "device_types": sorted(context.devices.types()),
        "next_page_token": _next_token(request, context, found.next),
    }
    return page(request, "latencies.html", values)


def _searches(context: ApiContext) -> list[SearchResource]:
    return [search_resource(search) for search in context.searches.page(SearchQuery(), _LIST).items]


def _fleet(context: ApiContext) -> dict[str, object]:
    def look(tx: Transaction) -> tuple[tuple[Device, ...], datetime]:
        return DeviceStore(tx).page(DeviceQuery(), _FLEET).items, tx.now()

    devices, now = context.uow.read(look)
    depths = context.uow.read(lambda tx: JobStore(tx).depths())
    return {"devices": [device_resource(device, now) for device in devices], "depths": depths}


def _next_token(request: Request, context: ApiContext, position: Position | None) -> str | None:
    return None if position is None else context.page_tokens.encode(position.to_json(), bound_query(request))
