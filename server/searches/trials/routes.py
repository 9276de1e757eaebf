"""Ask and tell over REST: trials of a search, for evaluators outside this service."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from starlette.responses import Response

from nas_engine.domain.errors import EngineError
from nas_engine.domain.measuring.environment import Dtype
from server.access.auth import Permitted
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.file_names import model_file_name
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_handlers import architecture_problem
from server.core.http.problem_types import (
    CONFLICT,
    INVALID_ARCHITECTURE,
    INVALID_PAGE_TOKEN,
    INVALID_REQUEST,
    NOT_FOUND,
)
from server.core.http.provide import provided
from server.core.http.resources import Listing
from server.core.idempotency import StoredResponse
from server.jobs.job import LeaseRef
from server.searches.trials.schemas import (
    AskBody,
    AskedResource,
    AskedTrialResource,
    LeaseBody,
    RenewBody,
    TellBody,
    TrialListQuery,
    TrialResource,
)
from server.searches.trials.trial import Trial
from server.searches.trials.trials import Trials

router = api_router("trials")
TrialsDep = Annotated[Trials, provided(Trials)]
SearchId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
CandidateId = Annotated[str, Path(examples=["cand_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
_ONNX: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"application/onnx": {"schema": {"type": "string", "format": "binary"}}},
        "description": "The ONNX file.",
    }
}


@router.post(
    "/searches/{search_id:id}/trials:ask",
    response_model=AskedResource,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, CONFLICT),
)
def ask_trials(search_id: SearchId, body: AskBody, trials: TrialsDep, once: PermittedOnce) -> Response:
    """Lease candidates to an evaluator outside, which brings their external metrics. One that comes back under its name
    is given again what it holds.
    """

    trials.put_back_dead()

    def action() -> StoredResponse:
        asked = trials.ask(search_id, body.evaluator, body.num_trials, body.lease_s)
        held = [AskedTrialResource.of_held(trial) for trial in asked.trials]
        return stored_response(200, AskedResource(search_state=asked.search.state, trials=held))

    return once(action)


@router.post(
    "/searches/{search_id:id}/trials:renew",
    response_model=TrialResource,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, CONFLICT),
)
def renew_trial(search_id: SearchId, body: RenewBody, trials: TrialsDep, once: PermittedOnce) -> Response:
    """Keep a trial for longer; refused where its lease has gone to somebody else, or nobody waits for it any more."""
    return once(lambda: _answer(trials.renew(search_id, _lease(body), body.lease_s)))


@router.post(
    "/searches/{search_id:id}/trials:tell",
    response_model=TrialResource,
    responses=problems(*COMMON, *ONCE, NOT_FOUND, CONFLICT),
)
def tell_trial(search_id: SearchId, body: TellBody, trials: TrialsDep, once: PermittedOnce) -> Response:
    """End a trial, once: with its values, with a failure, or by giving it back. Repeated, it answers the same; under a
    stale fence it is refused.
    """

    def action() -> StoredResponse:
        lease = _lease(body)
        if body.failed is not None:
            return _answer(trials.fail(search_id, lease, body.failed.reason, body.failed.fault))
        if body.metrics is None:
            return _answer(trials.give_back(search_id, lease))
        return _answer(trials.tell(search_id, lease, {name: one.told() for name, one in body.metrics.items()}))

    return once(action, refused_as=INVALID_REQUEST)


@router.get("/searches/{search_id:id}/trials", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_trials(
    search_id: SearchId, trials: TrialsDep, paging: PagingDep, _: Permitted, query: Annotated[TrialListQuery, Query()]
) -> Listing[TrialResource]:
    """List the trials of a search, newest first: who holds which, and what was told."""
    page = trials.page(search_id, tuple(query.state), paging.wanted(query))
    return paging.listing(page, [TrialResource.of_trial(trial) for trial in page.items])


@router.get(
    "/candidates/{candidate_id:id}/probe.onnx",
    response_class=Response,
    responses={**_ONNX, **problems(*COMMON, NOT_FOUND, INVALID_ARCHITECTURE)},
)
def get_candidate_probe(candidate_id: CandidateId, trials: TrialsDep, _: Permitted) -> Response:
    """Download a candidate's network as ONNX with random weights, the same for equal architectures: good for latency
    and energy, not for accuracy.
    """
    try:
        candidate, content = trials.probe(candidate_id)
    except EngineError as error:
        raise architecture_problem(error) from error
    space_id = candidate.record.architecture.space_id
    name = model_file_name(space_id, candidate.arch_id, Dtype.FP32.value, ModelFormat.ONNX, WeightsOrigin.RANDOM)
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type="application/onnx", headers=headers)


def _lease(body: LeaseBody) -> LeaseRef:
    return LeaseRef(body.trial_id, body.lease_id, body.fence)


def _answer(trial: Trial) -> StoredResponse:
    return stored_response(200, TrialResource.of_trial(trial))
