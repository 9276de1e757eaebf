"""Deployable model files of retrainings and front members, and the retraining of candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from server.access.auth import LABELS_FIT, Permitted
from server.access.idempotency import ONCE, PermittedOnce, stored_response
from server.core.errors import InvalidSpecError
from server.core.http.conditional import version_etag
from server.core.http.openapi import COMMON, json_body, problems
from server.core.http.paging import Paging, PagingDep, page_in_memory
from server.core.http.problem_handlers import spec_problem
from server.core.http.problem_types import INVALID_PAGE_TOKEN, INVALID_SUPERNET_SPEC, NOT_FOUND, UNSUPPORTED_MEDIA_TYPE
from server.core.http.provide import provided
from server.core.http.requests import JsonDocument
from server.core.http.resources import Listing, ListQuery
from server.core.idempotency import StoredResponse
from server.jobs.routes import ROOM_IN_QUEUE
from server.training.candidate_retraining import CandidateRetraining
from server.training.candidate_retraining_spec import CandidateRetrainingSpec, parse_candidate_retraining_spec
from server.training.deployables import DeployableModel, DeployableModels
from server.training.schemas import DeployableModelResource, SupernetResource

router = APIRouter(prefix="/api/v1", tags=["models"], dependencies=[LABELS_FIT])
DeployableModelsDep = Annotated[DeployableModels, provided(DeployableModels)]
CandidateRetrainingDep = Annotated[CandidateRetraining, provided(CandidateRetraining)]
SupernetId = Annotated[str, Path(examples=["sup_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
CandidateId = Annotated[str, Path(examples=["cand_01jd3x5w8k2v7m4q9r6t1y0z3a"])]


@router.get("/supernets/{supernet_id:id}/models", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_supernet_models(
    supernet_id: SupernetId,
    deployables: DeployableModelsDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[DeployableModelResource]:
    """Model files of a retraining; empty for what trains a whole supernet."""
    return _page(paging, query, deployables.of_supernet(supernet_id))


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


@router.post(
    "/candidates/{candidate_id:id}:retrain",
    status_code=202,
    response_model=SupernetResource,
    openapi_extra=json_body(CandidateRetrainingSpec),
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_SUPERNET_SPEC, UNSUPPORTED_MEDIA_TYPE),
    dependencies=[ROOM_IN_QUEUE],
)
def retrain_candidate(
    candidate_id: CandidateId, document: JsonDocument, retraining: CandidateRetrainingDep, once: PermittedOnce
) -> Response:
    """Train a candidate's architecture stand-alone. The answer is the training, to be followed as any other."""

    def action() -> StoredResponse:
        try:
            spec = parse_candidate_retraining_spec(document)
            supernet = retraining.create(candidate_id, spec, once.caller.creator)
        except InvalidSpecError as error:
            raise spec_problem(error, INVALID_SUPERNET_SPEC) from error
        headers = {"Location": f"/api/v1/supernets/{supernet.id}", "ETag": version_etag(supernet.version)}
        return stored_response(202, SupernetResource.of(supernet, supernet.spec), headers)

    return once(action)


def _page(paging: Paging, query: ListQuery, models: Sequence[DeployableModel]) -> Listing[DeployableModelResource]:
    wanted = paging.wanted(query)
    page = page_in_memory(models, lambda model: model.job_id or str(model.sha256), wanted)
    items = [DeployableModelResource.of(model) for model in page.items]
    return paging.listing(page, items)
