"""What a board's owner says of its use by others, and to whom an admin gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from server.access.auth import LABELS_FIT
from server.access.changes.recording import PermittedChange
from server.core.database.transaction import UnitOfWork
from server.core.errors import InvalidSpecError
from server.core.http.openapi import COMMON, api_router, problems
from server.core.http.problem_handlers import spec_problem
from server.core.http.problem_types import INVALID_REQUEST, NOT_FOUND
from server.core.http.provide import UowDep, provided
from server.fleet.device import Device
from server.fleet.routes import DeviceId, device_resource
from server.fleet.schemas import DeviceResource
from server.fleet.sharing.board_rules import BoardRules, WantedRules
from server.fleet.sharing.schemas import DeviceOwnerBody, UseRulesBody

router = api_router("devices", dependencies=[LABELS_FIT])
RulesDep = Annotated[BoardRules, provided(BoardRules)]
_CHANGE = problems(*COMMON, NOT_FOUND)


@router.put("/devices/{device_id:id}/rules", response_model=DeviceResource, responses=_CHANGE)
def set_device_rules(
    device_id: DeviceId, body: UseRulesBody, rules: RulesDep, uow: UowDep, change: PermittedChange
) -> DeviceResource:
    """Replace the rules by which others than its owner use a board: who, when, and how much of a day."""
    wanted = WantedRules(users=None if body.users is None else tuple(body.users), rules=body.rules())
    return _changed(uow, change, device_id, lambda: rules.set_rules(device_id, wanted))


@router.put("/devices/{device_id:id}/owner", response_model=DeviceResource, responses=_CHANGE)
def set_device_owner(
    device_id: DeviceId, body: DeviceOwnerBody, rules: RulesDep, uow: UowDep, change: PermittedChange
) -> DeviceResource:
    """Give a board to another owner; the rules of its use stay."""
    return _changed(uow, change, device_id, lambda: rules.give(device_id, body.owner))


def _changed(uow: UnitOfWork, change: PermittedChange, device_id: str, action: Callable[[], Device]) -> DeviceResource:
    try:
        device = change(action, lambda _: device_id)
    except InvalidSpecError as error:
        raise spec_problem(error, INVALID_REQUEST) from error
    return device_resource(device, uow.read(lambda tx: tx.now()))
