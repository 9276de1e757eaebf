"""Supernets: training ordered, followed and cancelled; weights published."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.training import TrainingSpec
from server.access.auth import LABELS_FIT, Permitted
from server.access.idempotency import ONCE, PermittedOnce, stored_response
from server.core.errors import InvalidSpecError
from server.core.http.conditional import NOT_MODIFIED, check_if_match, tagged, version_etag
from server.core.http.openapi import COMMON, json_body, problems
from server.core.http.paging import PagingDep, page_in_memory
from server.core.http.problem_handlers import spec_problem
from server.core.http.problem_types import (
    INVALID_PAGE_TOKEN,
    INVALID_STATE_TRANSITION,
    INVALID_SUPERNET_SPEC,
    NOT_FOUND,
    PRECONDITION_FAILED,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.provide import provided
from server.core.http.requests import JsonDocument
from server.core.http.resources import Listing, ListQuery
from server.core.idempotency import StoredResponse
from server.core.spec_documents import parse_spec
from server.jobs.routes import ROOM_IN_QUEUE
from server.training.presets import training_preset
from server.training.schemas import (
    RegistrationBody,
    SupernetListQuery,
    SupernetResource,
    SupernetVersionResource,
    TrainingPresetResource,
)
from server.training.spec import parse_training_spec
from server.training.supernet import Supernet, SupernetQuery
from server.training.supernets import NewVersion, Supernets

router = APIRouter(prefix="/api/v1", tags=["supernets"], dependencies=[LABELS_FIT])
SupernetsDep = Annotated[Supernets, provided(Supernets)]
PresetName = Annotated[str, Path(examples=["spos-imagenet"])]
SupernetId = Annotated[str, Path(examples=["sup_01jd3x5w8k2v7m4q9r6t1y0z3a"])]


@router.post(
    "/supernets",
    status_code=202,
    response_model=SupernetResource,
    openapi_extra=json_body(TrainingSpec),
    responses=problems(*COMMON, *ONCE, INVALID_SUPERNET_SPEC, UNSUPPORTED_MEDIA_TYPE),
    dependencies=[ROOM_IN_QUEUE],
)
def create_supernet(document: JsonDocument, supernets: SupernetsDep, once: PermittedOnce) -> Response:
    """Train a supernet. The answer names it at once; follow its events."""

    def action() -> StoredResponse:
        try:
            supernet = supernets.create_supernet(parse_training_spec(document), once.caller.creator)
        except InvalidSpecError as error:
            raise spec_problem(error, INVALID_SUPERNET_SPEC) from error
        return stored_response(202, SupernetResource.of(supernet, supernet.spec), _headers(supernet))

    return once(action)


@router.post(
    "/supernets:register",
    status_code=201,
    response_model=SupernetResource,
    openapi_extra=json_body(RegistrationBody),
    responses=problems(*COMMON, *ONCE, INVALID_SUPERNET_SPEC, NOT_FOUND, UNSUPPORTED_MEDIA_TYPE),
)
def register_supernet(document: JsonDocument, supernets: SupernetsDep, once: PermittedOnce) -> Response:
    """Take in a supernet that was trained elsewhere; its weights are an artifact already."""

    def action() -> StoredResponse:
        try:
            body = parse_spec(RegistrationBody, document)
            version = NewVersion(weights_sha256=body.weights_sha256, statistics=body.statistics)
            supernet = supernets.register(body.spec, version, once.caller.creator)
        except InvalidSpecError as error:
            raise spec_problem(error, INVALID_SUPERNET_SPEC) from error
        return stored_response(201, SupernetResource.of(supernet, supernet.spec), _headers(supernet))

    return once(action)


@router.get("/supernets", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_supernets(
    supernets: SupernetsDep, paging: PagingDep, _: Permitted, query: Annotated[SupernetListQuery, Query()]
) -> Listing[SupernetResource]:
    """List supernets and retrained networks, newest first."""
    wanted = SupernetQuery(states=tuple(query.state), space_id=query.space, dataset=query.dataset, owner=query.owner)
    page = supernets.page_of_supernets(wanted, paging.wanted(query))
    total = supernets.count_supernets(wanted) if query.include_total else None
    items = [SupernetResource.of(supernet, supernet.spec) for supernet in page.items]
    return paging.listing(page, items, total)


@router.get(
    "/supernets/{supernet_id:id}",
    response_model=SupernetResource,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_supernet(supernet_id: SupernetId, request: Request, supernets: SupernetsDep, _: Permitted) -> Response:
    """Read a supernet with the progress of its training."""
    supernet = supernets.get_supernet(supernet_id)
    return tagged(request, SupernetResource.of(supernet, supernet.spec), version_etag(supernet.version))


@router.get("/supernets/{supernet_id:id}/versions", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_supernet_versions(
    supernet_id: SupernetId,
    paging: PagingDep,
    supernets: SupernetsDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[SupernetVersionResource]:
    """A supernet's weights over time, oldest first."""
    wanted = paging.wanted(query)
    page = page_in_memory(supernets.versions_of_supernet(supernet_id), lambda version: version.id, wanted)
    items = [SupernetVersionResource.of(version) for version in page.items]
    return paging.listing(page, items)


@router.post(
    "/supernets/{supernet_id:id}:cancel",
    status_code=202,
    response_model=SupernetResource,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_STATE_TRANSITION, PRECONDITION_FAILED),
)
def cancel_supernet(
    supernet_id: SupernetId, request: Request, supernets: SupernetsDep, once: PermittedOnce
) -> Response:
    """Stop a training; it cannot be resumed, and searches that wait for it fail."""

    def action() -> StoredResponse:
        check_if_match(request, version_etag(supernets.get_supernet(supernet_id).version))
        supernet = supernets.cancel(supernet_id)
        return stored_response(202, SupernetResource.of(supernet, supernet.spec), _headers(supernet))

    return once(action)


@router.get("/training-presets", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_training_presets(
    paging: PagingDep, _: Permitted, query: Annotated[ListQuery, Query()]
) -> Listing[TrainingPresetResource]:
    """The papers' training recipes and small ones, by name."""
    wanted = paging.wanted(query)
    page = page_in_memory(list(TRAINING_PRESETS.values()), lambda preset: preset.name, wanted)
    return paging.listing(page, [TrainingPresetResource.of(p) for p in page.items])


@router.get("/training-presets/{name:id}", responses=problems(*COMMON, NOT_FOUND))
def get_training_preset(name: PresetName, _: Permitted) -> TrainingPresetResource:
    """Read the recipe of one training preset."""
    return TrainingPresetResource.of(training_preset(name))


def _headers(supernet: Supernet) -> dict[str, str]:
    return {"Location": f"/api/v1/supernets/{supernet.id}", "ETag": version_etag(supernet.version)}
