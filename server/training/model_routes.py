"""Model files that are shipped: of networks that were trained by themselves, and of front members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

from server.access.auth import Permitted
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import Paging, PagingDep, page_in_memory
from server.core.http.problem_types import INVALID_PAGE_TOKEN, NOT_FOUND
from server.core.http.provide import provided
from server.core.http.resources import Listing, ListQuery
from server.training.deployables import DeployableModel, DeployableModels
from server.training.networks.routes import CandidateId, NetworkId, NetworksDep
from server.training.routes import SupernetId, SupernetsDep
from server.training.schemas import DeployableModelResource

router = api_router("models")
DeployableModelsDep = Annotated[DeployableModels, provided(DeployableModels)]


@router.get("/networks/{network_id:id}/models", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_network_models(
    network_id: NetworkId,
    deployables: DeployableModelsDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[DeployableModelResource]:
    """List model files of a network that was trained by itself."""
    return _page(paging, query, deployables.of_network(network_id))


@router.get("/supernets/{supernet_id:id}/models", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_supernet_models(
    supernet_id: SupernetId,
    supernets: SupernetsDep,
    networks: NetworksDep,
    deployables: DeployableModelsDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[DeployableModelResource]:
    """List model files as clients of the first release ask for them: of a network; a supernet has none."""
    if networks.find_training(supernet_id) is not None:
        return _page(paging, query, deployables.of_network(supernet_id))
    supernets.get_training(supernet_id)
    return _page(paging, query, ())


@router.get("/candidates/{candidate_id:id}/models", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_candidate_models(
    candidate_id: CandidateId,
    deployables: DeployableModelsDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[DeployableModelResource]:
    """List model files of a front member, with the supernet's weights; empty for other candidates."""
    return _page(paging, query, deployables.of_candidate(candidate_id))


def _page(paging: Paging, query: ListQuery, models: Sequence[DeployableModel]) -> Listing[DeployableModelResource]:
    wanted = paging.wanted(query)
    page = page_in_memory(models, lambda model: model.job_id or str(model.sha256), wanted)
    items = [DeployableModelResource.of(model) for model in page.items]
    return paging.listing(page, items)
