"""Devices and device types; what engineers may do with a board."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from server.access.auth import LABELS_FIT, Permitted
from server.access.changes.recording import PermittedChange
from server.access.limits.idempotency import ONCE, PermittedOnce, stored_response
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.http.conditional import NOT_MODIFIED, tagged
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.paging import PagingDep, labels_of, page_in_memory
from server.core.http.problem_types import CONFLICT, INVALID_PAGE_TOKEN, INVALID_STATE_TRANSITION, NOT_FOUND
from server.core.http.provide import UowDep, provided
from server.core.http.resources import Listing, ListQuery
from server.core.idempotency import StoredResponse
from server.core.paging import Page
from server.fleet.device import Device, DeviceQuery, DeviceState
from server.fleet.devices import Devices
from server.fleet.schemas import (
    ConfirmationBody,
    DeviceDetail,
    DeviceLabelsBody,
    DeviceListQuery,
    DeviceResource,
    DeviceTypeResource,
    ReasonBody,
    ReservationBody,
    RuntimeResource,
)
from server.fleet.sharing.schemas import rules_resource
from server.fleet.store import DeviceStore
from server.fleet.takers import ONLINE_TIMEOUT
from server.jobs.schemas import JobResource

router = api_router("devices", dependencies=[LABELS_FIT])
DevicesDep = Annotated[Devices, provided(Devices)]
DeviceId = Annotated[
    str, Path(description="Id of the device, as the server gave it.", examples=["dev_01jd3x5w8k2v7m4q9r6t1y0z3a"])
]
D = TypeVar("D", bound=DeviceResource)
_DAY = timedelta(days=1)
_CHANGE = problems(*COMMON, NOT_FOUND, CONFLICT, INVALID_STATE_TRANSITION, *ONCE)


@router.get("/devices", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_devices(
    paging: PagingDep, uow: UowDep, _: Permitted, query: Annotated[DeviceListQuery, Query()]
) -> Listing[DeviceResource]:
    """List enrolled boards, by name."""
    wanted = DeviceQuery(
        device_type=query.device_type, states=tuple(query.state), labels=labels_of(query.label), owner=query.owner
    )
    at = paging.wanted(query)

    def look(tx: Transaction) -> tuple[Page[Device], datetime]:
        return DeviceStore(tx).page_of_devices(wanted, at), tx.now()

    page, now = uow.read(look)
    return paging.listing(page, [device_resource(device, now) for device in page.items])


@router.get(
    "/devices/{device_id:id}", response_model=DeviceDetail, responses={**NOT_MODIFIED, **problems(*COMMON, NOT_FOUND)}
)
def get_device(device_id: DeviceId, request: Request, devices: DevicesDep, uow: UowDep, _: Permitted) -> Response:
    """Read one board with the jobs it holds now."""
    device, utilisation = devices.get(device_id), devices.utilisation(device_id, _DAY)
    jobs, now = devices.current_jobs(device_id), uow.read(lambda tx: tx.now())
    current_jobs = [JobResource.of_job(job) for job in jobs]
    return tagged(request, _device(DeviceDetail, device, now, current_jobs=current_jobs, utilisation_24h=utilisation))


@router.get("/runtimes", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_runtimes(
    paging: PagingDep, uow: UowDep, _: Permitted, query: Annotated[ListQuery, Query()]
) -> Listing[RuntimeResource]:
    """List the inference engines that enrolled devices measure with, those that packages bring among them, by name."""

    def look(tx: Transaction) -> list[Device]:
        store = DeviceStore(tx)
        return [device for kind in store.count_devices_by_type() for device in store.devices_of_type(kind)]

    of_runtime: dict[str, list[Device]] = defaultdict(list)
    for device in uow.read(look):
        of_runtime[device.capabilities.identity.runtime].append(device)
    page = page_in_memory(sorted(of_runtime), str, paging.wanted(query))
    return paging.listing(page, [_runtime(name, of_runtime[name]) for name in page.items])


def _runtime(name: str, devices: Sequence[Device]) -> RuntimeResource:
    described = [one.capabilities.runtime for one in sorted(devices, key=lambda one: one.id)]
    declared = next((one for one in reversed(described) if one is not None), None)
    return RuntimeResource(
        name=name,
        device_types=sorted({device.device_type for device in devices}),
        num_devices=len(devices),
        title=None if declared is None else declared.title,
        package=None if declared is None else declared.package,
        version=None if declared is None else declared.version,
        settings_schema=None if declared is None else json.loads(declared.settings_schema_json),
    )


@router.put("/devices/{device_id:id}/labels", response_model=DeviceResource, responses=problems(*COMMON, NOT_FOUND))
def set_device_labels(
    device_id: DeviceId, body: DeviceLabelsBody, devices: DevicesDep, uow: UowDep, change: PermittedChange
) -> DeviceResource:
    """Replace the labels engineers gave a board; its own stay."""
    return _present(uow, change(lambda: devices.set_labels(device_id, body.labels), lambda _: device_id))


def _state_route(verb: str, state: DeviceState, summary: str) -> None:
    def change(
        device_id: DeviceId,
        devices: DevicesDep,
        uow: UowDep,
        once: PermittedOnce,
        body: ReasonBody | None = None,
    ) -> Response:
        def action() -> StoredResponse:
            device = devices.set_state(device_id, state, "" if body is None else body.reason)
            return stored_response(200, _present(uow, device))

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


@router.post("/devices/{device_id:id}:confirm", response_model=DeviceResource, responses=_CHANGE)
def confirm_device(
    device_id: DeviceId, devices: DevicesDep, uow: UowDep, once: PermittedOnce, body: ConfirmationBody | None = None
) -> Response:
    """Vouch for the class of a board, or give it another. Its agent can lower it again, never raise it."""

    def action() -> StoredResponse:
        wanted = ConfirmationBody() if body is None else body
        return stored_response(200, _present(uow, devices.confirm(device_id, wanted.device_class, wanted.reason)))

    return once(action)


@router.post("/devices/{device_id:id}:unretire", response_model=DeviceResource, responses=_CHANGE)
def unretire_device(
    device_id: DeviceId, devices: DevicesDep, uow: UowDep, once: PermittedOnce, body: ReasonBody | None = None
) -> Response:
    """Take a retired board back: its own credential speaks for it again."""

    def action() -> StoredResponse:
        return stored_response(200, _present(uow, devices.unretire(device_id, "" if body is None else body.reason)))

    return once(action)


_state_route("drain", DeviceState.DRAINING, "Drain a board: it finishes the jobs it has and gets no new ones.")
_state_route("resume", DeviceState.ACTIVE, "Give jobs to a board again.")
_state_route("quarantine", DeviceState.QUARANTINED, "Quarantine a board: it gets no jobs until an engineer resumes it.")
_state_route(
    "retire", DeviceState.RETIRED, "Retire a board that is gone: it gets no jobs any more, its measurements stay."
)


@router.post("/devices/{device_id:id}:reserve", response_model=DeviceResource, responses=_CHANGE)
def reserve_device(
    device_id: DeviceId,
    body: ReservationBody,
    uow: UowDep,
    devices: DevicesDep,
    once: PermittedOnce,
) -> Response:
    """Keep jobs off a board for a person who needs it; what it has now it finishes."""

    def action() -> StoredResponse:
        until = uow.read(lambda tx: tx.now()) + timedelta(seconds=body.duration_s)
        return stored_response(200, _present(uow, devices.reserve(device_id, body.reserved_by, until)))

    return once(action)


@router.post("/devices/{device_id:id}:release", response_model=DeviceResource, responses=_CHANGE)
def release_device(
    device_id: DeviceId,
    devices: DevicesDep,
    uow: UowDep,
    once: PermittedOnce,
) -> Response:
    """End a reservation; the board is given jobs again."""

    def action() -> StoredResponse:
        return stored_response(200, _present(uow, devices.release(device_id)))

    return once(action)


@router.get("/device-types", responses=problems(*COMMON, INVALID_PAGE_TOKEN))
def list_device_types(
    paging: PagingDep, uow: UowDep, _: Permitted, query: Annotated[ListQuery, Query()]
) -> Listing[DeviceTypeResource]:
    """List every type of board that has enrolled, with how many there are and how many take jobs now."""
    at = paging.wanted(query)

    def look(tx: Transaction) -> tuple[Page[str], list[DeviceTypeResource]]:
        page = page_in_memory(sorted(DeviceStore(tx).count_devices_by_type()), str, at)
        now = tx.now()
        return page, [_device_type(kind, DeviceStore(tx).devices_of_type(kind), now) for kind in page.items]

    page, items = uow.read(look)
    return paging.listing(page, items)


def _present(uow: UnitOfWork, device: Device) -> DeviceResource:
    return device_resource(device, uow.read(lambda tx: tx.now()))


def device_resource(device: Device, now: datetime) -> DeviceResource:
    """One device, as it is at a moment."""
    return _device(DeviceResource, device, now)


def _device(kind: type[D], device: Device, now: datetime, **members: object) -> D:
    reserved = device.reserved(now)
    return kind.of(
        device,
        online=device.online(now, ONLINE_TIMEOUT),
        labels=device.all_labels,
        capabilities=device.capabilities.to_json(),
        rules=rules_resource(device.rules),
        reserved_by=device.reserved_by if reserved else None,
        reserved_until=device.reserved_until if reserved else None,
        **members,
    )


def _device_type(device_type: str, devices: Sequence[Device], now: datetime) -> DeviceTypeResource:
    """One type, from its devices that are not retired."""
    live = [device for device in devices if device.state is not DeviceState.RETIRED]
    online = [device for device in live if device.online(now, ONLINE_TIMEOUT)]
    available = [device for device in online if device.state.takes_jobs and not device.reserved(now)]
    return DeviceTypeResource(
        device_type=device_type,
        device_classes=sorted({device.device_class for device in live}),
        num_devices=len(live),
        num_online=len(online),
        num_available=len(available),
    )
