"""Devices and device types; what engineers may do with a board."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from server.access.auth import Engineer, Viewer
from server.access.idempotency import ONCE, EngineerOnce, stored_response
from server.bootstrap.http_context import ApiContext, Context
from server.core.database.transaction import Transaction
from server.core.http.conditional import NOT_MODIFIED, tagged
from server.core.http.listing import answer_page, labels_of, page_in_memory, page_request
from server.core.http.openapi import COMMON, problems
from server.core.http.problem_types import CONFLICT, INVALID_PAGE_TOKEN, INVALID_STATE_TRANSITION, NOT_FOUND
from server.core.http.queries import ListQuery
from server.core.http.resources import Listing
from server.core.idempotency import StoredResponse
from server.core.paging import Page
from server.fleet.device import Device, DeviceQuery
from server.fleet.presenter import device_detail, device_resource, device_type_resource
from server.fleet.schemas import (
    DeviceDetail,
    DeviceLabelsBody,
    DeviceListQuery,
    DeviceResource,
    DeviceTypeResource,
    ReasonBody,
    ReservationBody,
)
from server.fleet.states import DeviceState
from server.fleet.store import DeviceStore

router = APIRouter(prefix="/api/v1", tags=["devices"])
DeviceId = Annotated[str, Path(examples=["dev_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
_DAY = timedelta(days=1)
_CHANGE = problems(*COMMON, NOT_FOUND, CONFLICT, INVALID_STATE_TRANSITION, *ONCE)


@router.get("/devices", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_devices(
    request: Request, response: Response, context: Context, _: Viewer, query: Annotated[DeviceListQuery, Query()]
) -> Listing[DeviceResource]:
    """Enrolled boards, by name."""
    wanted = DeviceQuery(device_type=query.device_type, states=tuple(query.state), labels=labels_of(query.label))
    at = page_request(request, query, context.page_tokens)

    def look(tx: Transaction) -> tuple[Page[Device], datetime]:
        return DeviceStore(tx).page(wanted, at), tx.now()

    page, now = context.uow.read(look)
    return answer_page(
        request, response, context.page_tokens, page, [device_resource(device, now) for device in page.items]
    )


@router.get(
    "/devices/{device_id:id}", response_model=DeviceDetail, responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)}
)
def get_device(device_id: DeviceId, request: Request, context: Context, _: Viewer) -> Response:
    """One board with what it does now."""
    device, utilisation = context.devices.get(device_id), context.devices.utilisation(device_id, _DAY)
    jobs, now = context.devices.current_jobs(device_id), context.uow.read(lambda tx: tx.now())
    return tagged(request, device_detail(device, now, jobs, utilisation))


@router.put("/devices/{device_id:id}/labels", response_model=DeviceResource, responses=problems(*COMMON, NOT_FOUND))
def set_device_labels(device_id: DeviceId, body: DeviceLabelsBody, context: Context, _: Engineer) -> DeviceResource:
    """Replace the labels engineers gave a board; its own stay."""
    return _present(context, context.devices.set_labels(device_id, body.labels))


def _state_route(verb: str, state: DeviceState, summary: str) -> None:
    def change(
        device_id: DeviceId,
        context: Context,
        once: EngineerOnce,
        body: ReasonBody | None = None,
    ) -> Response:
        def action() -> StoredResponse:
            device = context.devices.set_state(device_id, state, "" if body is None else body.reason)
            return stored_response(200, _present(context, device))

        return once(action)

    router.add_api_route(
        f"/devices/{{device_id:id}}:{verb}",
        change,
        methods=["POST"],
        name=f"{verb}_device",
        description=summary,
        response_model=DeviceResource,
        responses=_CHANGE,
    )


_state_route("drain", DeviceState.DRAINING, "The board finishes what it has and gets nothing new.")
_state_route("resume", DeviceState.ACTIVE, "The board gets jobs again.")
_state_route("quarantine", DeviceState.QUARANTINED, "The board gets nothing until an engineer resumes it.")
_state_route("retire", DeviceState.RETIRED, "The board is gone for good; its measurements stay.")


@router.post("/devices/{device_id:id}:reserve", response_model=DeviceResource, responses=_CHANGE)
def reserve_device(
    device_id: DeviceId,
    body: ReservationBody,
    context: Context,
    once: EngineerOnce,
) -> Response:
    """Keep jobs off a board for a person who needs it; what it has now it finishes."""

    def action() -> StoredResponse:
        until = context.uow.read(lambda tx: tx.now()) + timedelta(seconds=body.duration_s)
        return stored_response(200, _present(context, context.devices.reserve(device_id, body.reserved_by, until)))

    return once(action)


@router.post("/devices/{device_id:id}:release", response_model=DeviceResource, responses=_CHANGE)
def release_device(
    device_id: DeviceId,
    context: Context,
    once: EngineerOnce,
) -> Response:
    """End a reservation."""

    def action() -> StoredResponse:
        return stored_response(200, _present(context, context.devices.release(device_id)))

    return once(action)


@router.get("/device-types", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_device_types(
    request: Request, response: Response, context: Context, _: Viewer, query: Annotated[ListQuery, Query()]
) -> Listing[DeviceTypeResource]:
    """Every kind of board that has enrolled, with how many there are and how many take jobs now."""
    at = page_request(request, query, context.page_tokens)

    def look(tx: Transaction) -> tuple[Page[str], list[DeviceTypeResource]]:
        page = page_in_memory(sorted(DeviceStore(tx).types()), str, at)
        now = tx.now()
        return page, [device_type_resource(kind, DeviceStore(tx).of_type(kind), now) for kind in page.items]

    page, items = context.uow.read(look)
    return answer_page(request, response, context.page_tokens, page, items)


def _present(context: ApiContext, device: Device) -> DeviceResource:
    return device_resource(device, context.uow.read(lambda tx: tx.now()))
