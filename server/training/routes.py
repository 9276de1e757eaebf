"""Supernets: training ordered, followed and cancelled; weights published.

To clients of the first release a network that is trained by itself was a supernet too: what they send and ask of one
here is done to the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.training import NetworkSpec, TrainingSpec, trains_network
from server.access.auth import LABELS_FIT, Permitted, ReferringDocument
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.core.finding import words_of
from server.core.http.conditional import NOT_MODIFIED, check_if_match, tagged, version_etag
from server.core.http.openapi import COMMON, api_router, json_body, problems
from server.core.http.paging import PagingDep, labels_of, page_in_memory
from server.core.http.problem_types import (
    INVALID_PAGE_TOKEN,
    INVALID_STATE_TRANSITION,
    INVALID_SUPERNET_SPEC,
    NOT_FOUND,
    PRECONDITION_FAILED,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.provide import provided
from server.core.http.resources import Listing, ListQuery
from server.core.idempotency import StoredResponse
from server.core.spec_documents import parse_spec
from server.training.curves.schemas import CurveQuery, CurveResource
from server.training.networks.routes import NetworksDep, cancelled, created, network_answer, network_path, registered
from server.training.networks.schemas import (
    NetworkRegistrationBody,
    NetworkResource,
    network_resource,
    weights_as_versions,
)
from server.training.presets import training_preset
from server.training.schemas import (
    RegistrationBody,
    SupernetListQuery,
    SupernetResource,
    SupernetVersionResource,
    TrainingPresetResource,
)
from server.training.spec import parse_training_spec
from server.training.supernet import Supernet
from server.training.supernets import NewVersion, Supernets
from server.training.training import TrainingQuery

router = api_router("supernets", dependencies=[LABELS_FIT])
SupernetsDep = Annotated[Supernets, provided(Supernets)]
PresetName = Annotated[str, Path(examples=["spos-imagenet"])]
SupernetId = Annotated[str, Path(examples=["sup_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
_MOVED: dict[int | str, dict[str, Any]] = {
    308: {"model": NetworkResource, "description": "It is a network: go there. The body is what is found there."}
}


@router.post(
    "/supernets",
    status_code=202,
    response_model=SupernetResource | NetworkResource,
    openapi_extra=json_body(TrainingSpec, NetworkSpec),
    responses=problems(*COMMON, *ONCE, INVALID_SUPERNET_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def create_supernet(
    document: ReferringDocument, supernets: SupernetsDep, networks: NetworksDep, once: PermittedOnce
) -> Response:
    """Train a supernet. The answer names it at once; follow its events.

    The spec of a network, as clients of the first release send it here, makes one as POST /api/v1/networks does.
    """

    def action() -> StoredResponse:
        if trains_network(document):
            return network_answer(202, created(networks, document, once.caller.creator), as_supernet=True)
        return _answer(202, supernets.create_supernet(parse_training_spec(document), once.caller.creator))

    return once(action, refused_as=INVALID_SUPERNET_SPEC)


@router.post(
    "/supernets:register",
    status_code=201,
    response_model=SupernetResource | NetworkResource,
    openapi_extra=json_body(RegistrationBody, NetworkRegistrationBody),
    responses=problems(*COMMON, *ONCE, INVALID_SUPERNET_SPEC, NOT_FOUND, UNSUPPORTED_MEDIA_TYPE),
)
def register_supernet(
    document: ReferringDocument, supernets: SupernetsDep, networks: NetworksDep, once: PermittedOnce
) -> Response:
    """Take in a supernet that was trained elsewhere; its weights are an artifact already.

    A network, as clients of the first release send it here, is taken in as POST /api/v1/networks:register does.
    """

    def action() -> StoredResponse:
        if isinstance(document, Mapping) and trains_network(document.get("spec")):
            return network_answer(201, registered(networks, document, once.caller.creator), as_supernet=True)
        body = parse_spec(RegistrationBody, document)
        version = NewVersion(weights_sha256=body.weights_sha256, statistics=body.recorded_statistics())
        return _answer(201, supernets.register(body.spec, version, once.caller.creator))

    return once(action, refused_as=INVALID_SUPERNET_SPEC)


@router.get("/supernets", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_supernets(
    supernets: SupernetsDep, paging: PagingDep, _: Permitted, query: Annotated[SupernetListQuery, Query()]
) -> Listing[SupernetResource]:
    """List supernets, newest first."""
    wanted = TrainingQuery(
        states=tuple(query.state),
        space_id=query.space,
        dataset=query.dataset,
        owner=query.owner,
        labels=labels_of(query.label),
        words=words_of(query.find),
    )
    page = supernets.page_of_trainings(wanted, paging.wanted(query))
    total = supernets.count_trainings(wanted) if query.include_total else None
    times = supernets.times_of(page.items)
    items = [SupernetResource.of(one, one.spec, time=time) for one, time in zip(page.items, times, strict=True)]
    return paging.listing(page, items, total)


@router.get(
    "/supernets/{supernet_id:id}",
    response_model=SupernetResource,
    responses={**NOT_MODIFIED, **_MOVED, **problems(*COMMON, NOT_FOUND)},
)
def get_supernet(
    supernet_id: SupernetId, request: Request, supernets: SupernetsDep, networks: NetworksDep, _: Permitted
) -> Response:
    """Read a supernet with the progress of its training; the id of a network is redirected there."""
    network = networks.find_training(supernet_id)
    if network is not None:
        # With the document as its body: the first release's client reads it and follows no redirects.
        headers = {"Location": network_path(network, as_supernet=True), "ETag": version_etag(network.version)}
        found = network_resource(network, as_supernet=True).model_dump_json()
        return Response(found, 308, headers, media_type="application/json")
    supernet = supernets.get_training(supernet_id)
    resource = SupernetResource.of(supernet, supernet.spec, time=supernets.time_of(supernet))
    return tagged(request, resource, version_etag(supernet.version))


@router.get("/supernets/{supernet_id:id}/curve", responses=problems(*COMMON, NOT_FOUND))
def get_supernet_curve(
    supernet_id: SupernetId, supernets: SupernetsDep, _: Permitted, query: Annotated[CurveQuery, Query()]
) -> CurveResource:
    """The learning curve of a supernet: loss, accuracy, learning rate and throughput, by step."""
    return CurveResource.of(supernets.curve(supernet_id, query.max_points))


@router.get("/supernets/{supernet_id:id}/versions", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_supernet_versions(
    supernet_id: SupernetId,
    paging: PagingDep,
    supernets: SupernetsDep,
    networks: NetworksDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[SupernetVersionResource]:
    """A supernet's weights over time, oldest first; of a network, its weights."""
    wanted = paging.wanted(query)
    network = networks.find_training(supernet_id)
    if network is None:
        versions = [SupernetVersionResource.of(version) for version in supernets.versions_of_supernet(supernet_id)]
    else:
        versions = weights_as_versions(network)
    page = page_in_memory(versions, lambda version: version.id, wanted)
    return paging.listing(page, list(page.items))


@router.post(
    "/supernets/{supernet_id:id}:cancel",
    status_code=202,
    response_model=SupernetResource | NetworkResource,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_STATE_TRANSITION, PRECONDITION_FAILED),
)
def cancel_supernet(
    supernet_id: SupernetId, request: Request, supernets: SupernetsDep, networks: NetworksDep, once: PermittedOnce
) -> Response:
    """Stop a training; it cannot be resumed, and searches that wait for it fail."""

    def action() -> StoredResponse:
        network = networks.find_training(supernet_id)
        if network is not None:
            return cancelled(request, networks, network, as_supernet=True)
        check_if_match(request, version_etag(supernets.get_training(supernet_id).version))
        return _answer(202, supernets.cancel(supernet_id))

    return once(action)


@router.get("/training-presets", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_training_presets(
    paging: PagingDep, _: Permitted, query: Annotated[ListQuery, Query()]
) -> Listing[TrainingPresetResource]:
    """The papers' training recipes and small ones, by name."""
    wanted = paging.wanted(query)
    page = page_in_memory(list(TRAINING_PRESETS.values()), lambda preset: preset.name, wanted)
    return paging.listing(page, [TrainingPresetResource.of_preset(one) for one in page.items])


@router.get("/training-presets/{name:id}", responses=problems(*COMMON, NOT_FOUND))
def get_training_preset(name: PresetName, _: Permitted) -> TrainingPresetResource:
    """Read the recipe of one training preset."""
    return TrainingPresetResource.of_preset(training_preset(name))


def _answer(status: int, supernet: Supernet) -> StoredResponse:
    headers = {"Location": f"/api/v1/supernets/{supernet.id}", "ETag": version_etag(supernet.version)}
    return stored_response(status, SupernetResource.of(supernet, supernet.spec), headers)
