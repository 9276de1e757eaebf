"""What-if boards over REST: a sub-resource of a finished search."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from server.access.auth import LABELS_FIT, Permitted, check_priority
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.candidates.search_store import SearchStore
from server.core.database.transaction import UnitOfWork
from server.core.http.openapi import COMMON, api_router, json_body, problems
from server.core.http.paging import PagingDep
from server.core.http.problem_types import (
    INVALID_PAGE_TOKEN,
    INVALID_SEARCH_SPEC,
    INVALID_STATE_TRANSITION,
    NOT_FOUND,
    UNSUPPORTED_MEDIA_TYPE,
)
from server.core.http.provide import UowDep, provided
from server.core.http.requests import JsonDocument
from server.core.http.resources import Listing, ListQuery
from server.core.idempotency import StoredResponse
from server.core.ids import short_id
from server.fleet.takers import takers_of_spec
from server.jobs.routes import DispatchDep
from server.jobs.states import JobKind
from server.latency_tables.batch import EntryState
from server.searches.fronts.schemas import FrontObjectiveResource
from server.searches.what_if.schemas import (
    CarriedNetworkResource,
    ChosenNetworkResource,
    WhatIfDetail,
    WhatIfResource,
)
from server.searches.what_if.spec import WhatIfSpec, parse_what_if_spec
from server.searches.what_if.what_if import VALIDATION, CarriedNetwork, ChosenNetwork, WhatIf, WhatIfState
from server.searches.what_if.what_ifs import WhatIfs

router = api_router("searches", dependencies=[LABELS_FIT])
WhatIfsDep = Annotated[WhatIfs, provided(WhatIfs)]
SearchId = Annotated[str, Path(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
WhatIfId = Annotated[str, Path(examples=["wif_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
_STEER = problems(*COMMON, *ONCE, NOT_FOUND, INVALID_STATE_TRANSITION)


@router.post(
    "/searches/{search_id:id}/what-if",
    status_code=202,
    response_model=WhatIfResource,
    openapi_extra=json_body(WhatIfSpec),
    responses=problems(*COMMON, *ONCE, NOT_FOUND, INVALID_SEARCH_SPEC, UNSUPPORTED_MEDIA_TYPE),
)
def create_what_if(search_id: SearchId, document: JsonDocument, what_ifs: WhatIfsDep, once: PermittedOnce) -> Response:
    """Carry a finished search's front over to another board, by 10 to 20 measurements there that the server chooses."""

    def action() -> StoredResponse:
        spec = parse_what_if_spec(document)
        check_priority(once.caller, spec.priority)
        made = what_ifs.create(search_id, spec, once.caller.creator)
        return stored_response(202, _resource(made), {"Location": f"/api/v1/searches/{search_id}/what-if/{made.id}"})

    return once(action)


@router.get("/searches/{search_id:id}/what-if", responses=problems(*COMMON, INVALID_PAGE_TOKEN, NOT_FOUND))
def list_what_ifs(
    search_id: SearchId,
    what_ifs: WhatIfsDep,
    paging: PagingDep,
    _: Permitted,
    query: Annotated[ListQuery, Query()],
) -> Listing[WhatIfResource]:
    """Boards that a search's front was carried over to, newest first."""
    page = what_ifs.page(search_id, paging.wanted(query))
    return paging.listing(page, [_resource(one) for one in page.items])


@router.get("/searches/{search_id:id}/what-if/{what_if_id:id}", responses=problems(*COMMON, NOT_FOUND))
def get_what_if(
    search_id: SearchId,
    what_if_id: WhatIfId,
    what_ifs: WhatIfsDep,
    uow: UowDep,
    dispatch: DispatchDep,
    _: Permitted,
) -> WhatIfDetail:
    """The front on the new board as it stands: what was measured, what is estimated, and what would settle it."""
    what_if = what_ifs.get(search_id, what_if_id)
    carried = what_ifs.carried_over(what_if)
    search = uow.read(lambda tx: SearchStore(tx).get_search(search_id))
    networks = () if carried is None else carried.networks
    shown = {one.candidate_id: _network(one, search_id) for one in networks}
    front = sorted((one for one in networks if one.on_front), key=lambda one: (one.latency_us or 0.0, one.seq))
    waiting_for = ""
    if what_if.state is WhatIfState.MEASURING:
        waiting_for = _boards(uow, what_if)
    elif not what_if.state.final:
        waiting_for = dispatch.no_worker_for(JobKind.WHAT_IF)
    return WhatIfDetail.of(
        what_if,
        **_counted(what_if),
        chosen=[_chosen(one, search_id) for one in what_if.chosen],
        objectives=[FrontObjectiveResource.of_objective(one) for one in search.spec.domain_objectives()],
        front=[shown[one.candidate_id] for one in front],
        networks=list(shown.values()),
        measure_next=[] if carried is None else [shown[one] for one in carried.next_candidate_ids],
        waiting_for=waiting_for,
    )


@router.post(
    "/searches/{search_id:id}/what-if/{what_if_id:id}:measure-next",
    status_code=202,
    response_model=WhatIfResource,
    responses=_STEER,
)
def measure_next_of_what_if(
    search_id: SearchId, what_if_id: WhatIfId, what_ifs: WhatIfsDep, once: PermittedOnce
) -> Response:
    """Have those measured which would most settle the front; then every candidate is estimated anew."""
    return once(lambda: stored_response(202, _resource(what_ifs.measure_next(search_id, what_if_id))))


@router.post(
    "/searches/{search_id:id}/what-if/{what_if_id:id}:cancel",
    status_code=202,
    response_model=WhatIfResource,
    responses=_STEER,
)
def cancel_what_if(search_id: SearchId, what_if_id: WhatIfId, what_ifs: WhatIfsDep, once: PermittedOnce) -> Response:
    """Stop one under way; what was measured stays."""
    return once(lambda: stored_response(202, _resource(what_ifs.cancel(search_id, what_if_id))))


def _boards(uow: UnitOfWork, what_if: WhatIf) -> str:
    return uow.read(lambda tx: takers_of_spec(tx, what_if.spec.device, what_if.hardware_key, what_if.owner)).waiting_for


def _resource(what_if: WhatIf) -> WhatIfResource:
    return WhatIfResource.of(what_if, **_counted(what_if))


def _counted(what_if: WhatIf) -> dict[str, object]:
    return {
        "device_type": what_if.spec.device.device_type,
        "num_chosen": len(what_if.chosen),
        "num_measured": sum(one.state is EntryState.MEASURED for one in what_if.chosen),
        "validation": "" if what_if.quality is None else VALIDATION,
    }


def _chosen(one: ChosenNetwork, search_id: str) -> ChosenNetworkResource:
    return ChosenNetworkResource.of(one, short_id=f"{short_id(search_id)}.{one.seq}", state=one.state.value)


def _network(one: CarriedNetwork, search_id: str) -> CarriedNetworkResource:
    return CarriedNetworkResource.of(one, short_id=f"{short_id(search_id)}.{one.seq}")
