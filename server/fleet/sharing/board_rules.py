"""Use cases of what a board is to others: its rules of use, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from server.access.principal import Principal
from server.access.store import PrincipalStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import InvalidSpecError, InvalidValueError, SpecViolation
from server.fleet.device import Device
from server.fleet.lifecycle import note_device
from server.fleet.sharing.rules import AllowedUser, UseRules
from server.fleet.sharing.windows import zone_of
from server.fleet.store import DeviceStore


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRules:
    """Rules as somebody asks for them.

    Attributes:
        users: names or ids of principals; None: everybody.
        rules: all of the rest.
    """

    users: tuple[str, ...] | None = None
    rules: UseRules = field(default_factory=UseRules)


class BoardRules:
    """Use cases of the rules of use and of the owners of boards."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def set_rules(self, device_id: str, wanted: WantedRules) -> Device:
        """Replace the rules of a board. What it does now it finishes; what is held ahead goes by the new ones.

        Raises:
            NotFoundError: there is no such device.
            InvalidSpecError: a user is no principal, or the time zone is not known here.
        """
        try:
            zone_of(wanted.rules.time_zone)
        except InvalidValueError as error:
            raise InvalidSpecError([SpecViolation("/time_zone", str(error))]) from error

        def work(tx: Transaction) -> Device:
            device = DeviceStore(tx).lock_device(device_id)
            users = None
            if wanted.users is not None:
                found = [_principal(tx, name, f"/users/{place}") for place, name in enumerate(wanted.users)]
                users = tuple({one.id: AllowedUser(id=one.id, name=one.name) for one in found}.values())
            rules = replace(wanted.rules, users=users)
            changed = replace(device, rules=rules if rules.restricts else None)
            note_device(tx, changed, "shared by other rules" if rules.restricts else "shared with everybody")
            tx.wake(Topic.DEVICE_JOBS)
            return DeviceStore(tx).save_device(changed)

        return self._uow.write(work)

    def give(self, device_id: str, owner: str) -> Device:
        """Make a board somebody's, by name or id; its rules stay.

        Raises:
            NotFoundError: there is no such device.
            InvalidSpecError: there is no such principal.
        """

        def work(tx: Transaction) -> Device:
            device = DeviceStore(tx).lock_device(device_id)
            changed = replace(device, owner=_principal(tx, owner, "/owner"))
            note_device(tx, changed, "given to another owner")
            tx.wake(Topic.DEVICE_JOBS)
            return DeviceStore(tx).save_device(changed)

        return self._uow.write(work)


def _principal(tx: Transaction, called: str, pointer: str) -> Principal:
    found = PrincipalStore(tx).find_principal(called)
    if found is None:
        message = f"no principal has the name or the id {called!r}: owners in lists show them, an admin lists them all"
        raise InvalidSpecError([SpecViolation(pointer, message)])
    return found
