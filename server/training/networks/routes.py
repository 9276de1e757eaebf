"""Networks: training ordered, followed and cancelled, of an architecture or of what a search found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.settings.training import NetworkSpec
from server.access.auth import LABELS_FIT, Permitted, ReferringDocument
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.access.principal import Creator
from server.core.finding import words_of
from server.core.http.conditional import NOT_MODIFIED, check_if_match, tagged, version_etag
from server.core.http.openapi import COMMON, api_router, json_body, problems
from server.core.http.paging import PagingDep, labels_of
from server.core.http.problem_types import (
    INVALID_NETWORK_SPEC,
    INVALID_PAGE_TOKEN,
    INVALID_STATE_TRANSITION,
    NOT_FOUND,
    PRECONDITION_FAILED,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.provide import provided
from server.core.http.resources import Listing
from server.core.idempotency import StoredResponse
from server.core.spec_documents import parse_spec
from server.training.curves.schemas import CurveQuery, CurveResource
from server.training.networks.candidate_retraining import CandidateRetraining
from server.training.networks.candidate_retraining_spec import CandidateRetrainingSpec, parse_candidate_retraining_spec
from server.training.networks.network import Network, architecture_place, parse_network_spec
from server.training.networks.networks import Networks
from server.training.networks.schemas import (
    NetworkListQuery,
    NetworkRegistrationBody,
    NetworkResource,
    network_resource,
)
from server.training.training import TrainingQuery

router = api_router("networks", dependencies=[LABELS_FIT])
NetworksDep = Annotated[Networks, provided(Networks)]
CandidateRetrainingDep = Annotated[CandidateRetraining, provided(CandidateRetraining)]
NetworkId = Annotated[str, Path(examples=["network_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
CandidateId = Annotated[str, Path(examples=["cand_01jd3x5w8k2v7m4q9r6t1y0z3a"])]


@router.post(
    "/networks",
    status_code=202,
    response_model=NetworkResource,
    openapi_extra=json_body(NetworkSpec),
    responses=problems(*COMMON, *ONCE, INVALID_NETWORK_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def create_network(document: ReferringDocument, networks: NetworksDep, once: PermittedOnce) -> Response:
    """Train one architecture by itself. The answer names the network at once; follow its events."""

    def action() -> StoredResponse:
        return network_answer(202, created(networks, document, once.caller.creator))

    return once(action, refused_as=INVALID_NETWORK_SPEC)


@router.post(
    "/networks:register",
    status_code=201,
    response_model=NetworkResource,
    openapi_extra=json_body(NetworkRegistrationBody),
    responses=problems(*COMMON, *ONCE, INVALID_NETWORK_SPEC, NOT_FOUND, UNSUPPORTED_MEDIA_TYPE),
)
def register_network(document: ReferringDocument, networks: NetworksDep, once: PermittedOnce) -> Response:
    """Take in a network that was trained elsewhere; its weights are an artifact already."""

    def action() -> StoredResponse:
        return network_answer(201, registered(networks, document, once.caller.creator))

    return once(action, refused_as=INVALID_NETWORK_SPEC)


@router.post(
    "/candidates/{candidate_id:id}:retrain",
    status_code=202,
    response_model=NetworkResource,
    openapi_extra=json_body(CandidateRetrainingSpec),
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_NETWORK_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def retrain_candidate(
    candidate_id: CandidateId, document: ReferringDocument, retraining: CandidateRetrainingDep, once: PermittedOnce
) -> Response:
    """Train a candidate's architecture by itself. The answer is the network, to be followed as any other; its spec is
    spelled as the first release spelled it, with a strategy."""

    def action() -> StoredResponse:
        spec = parse_candidate_retraining_spec(document)
        network = retraining.create(candidate_id, spec, once.caller.creator)
        return network_answer(202, network, as_supernet=True)

    return once(action, refused_as=INVALID_NETWORK_SPEC)


@router.get("/networks", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_networks(
    networks: NetworksDep, paging: PagingDep, _: Permitted, query: Annotated[NetworkListQuery, Query()]
) -> Listing[NetworkResource]:
    """List networks that are trained by themselves, newest first."""
    wanted = TrainingQuery(
        states=tuple(query.state),
        space_id=query.space,
        dataset=query.dataset,
        owner=query.owner,
        labels=labels_of(query.label),
        words=words_of(query.find),
    )
    page = networks.page_of_trainings(wanted, paging.wanted(query))
    total = networks.count_trainings(wanted) if query.include_total else None
    times = networks.times_of(page.items)
    items = [network_resource(network, time) for network, time in zip(page.items, times, strict=True)]
    return paging.listing(page, items, total)


@router.get(
    "/networks/{network_id:id}",
    response_model=NetworkResource,
    responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)},
)
def get_network(
    network_id: NetworkId,
    request: Request,
    networks: NetworksDep,
    _: Permitted,
    as_supernet: Annotated[
        bool, Query(description="Write its spec as clients of the first release read it: with a strategy `retrain`.")
    ] = False,
) -> Response:
    """Read a network with the progress of its training."""
    network = networks.get_training(network_id)
    resource = network_resource(network, networks.time_of(network), as_supernet=as_supernet)
    return tagged(request, resource, version_etag(network.version))


@router.get("/networks/{network_id:id}/curve", responses=problems(*COMMON, NOT_FOUND))
def get_network_curve(
    network_id: NetworkId, networks: NetworksDep, _: Permitted, query: Annotated[CurveQuery, Query()]
) -> CurveResource:
    """The learning curve of a network: loss, accuracy, learning rate and throughput, by step."""
    return CurveResource.of(networks.curve(network_id, query.max_points))


@router.post(
    "/networks/{network_id:id}:cancel",
    status_code=202,
    response_model=NetworkResource,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_STATE_TRANSITION, PRECONDITION_FAILED),
)
def cancel_network(network_id: NetworkId, request: Request, networks: NetworksDep, once: PermittedOnce) -> Response:
    """Stop the training of a network; it cannot be resumed."""
    return once(lambda: cancelled(request, networks, networks.get_training(network_id)))


def created(networks: Networks, document: object, creator: Creator) -> Network:
    """Queue the training that a spec's document asks for."""
    return networks.create_network(parse_network_spec(document), creator, architecture_place(document))


def registered(networks: Networks, document: object, creator: Creator) -> Network:
    """Take in the network that a document describes."""
    body = parse_spec(NetworkRegistrationBody, document)
    spelled = document.get("spec") if isinstance(document, Mapping) else None
    return networks.register(body.spec, body.weights_sha256, body.statistics, creator, architecture_place(spelled))


def cancelled(request: Request, networks: Networks, network: Network, *, as_supernet: bool = False) -> StoredResponse:
    """Cancel a network unless it has changed since the caller read it; the answer."""
    check_if_match(request, version_etag(network.version))
    return network_answer(202, networks.cancel(network.id), as_supernet=as_supernet)


def network_answer(status: int, network: Network, *, as_supernet: bool = False) -> StoredResponse:
    """The answer to whoever changed a network; `as_supernet` where clients of the first release read it as one."""
    headers = {"Location": network_path(network, as_supernet=as_supernet), "ETag": version_etag(network.version)}
    return stored_response(status, network_resource(network, as_supernet=as_supernet), headers)


def network_path(network: Network, *, as_supernet: bool = False) -> str:
    """Where a network is read; `as_supernet` for clients of the first release."""
    return f"/api/v1/networks/{network.id}{'?as_supernet=true' if as_supernet else ''}"
