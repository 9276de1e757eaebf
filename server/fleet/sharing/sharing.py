"""Who gets to use a board now, by its rules and by what it did for whom today; in words where somebody does not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from server.access.principal import Principal
from server.core.database.transaction import Transaction
from server.core.errors import InvalidValueError
from server.fleet.device import Device
from server.fleet.sharing.rules import UseRules
from server.fleet.store import DeviceStore, suits
from server.jobs.job import Job, JobTarget, OwnersTaken
from server.jobs.queue import JobStore
from server.jobs.states import JobKind

MAX_NAMED = 3
"""Boards, or people, that a sentence names; it counts the others."""


def owners_taken(tx: Transaction, device: Device) -> OwnersTaken | None:
    """Whose jobs a device is given now; None for everybody's."""
    rules = device.rules
    if rules is None:
        return None
    own = frozenset() if device.owner is None else frozenset({device.owner.id})
    now = tx.now()
    if not rules.open_at(now):
        return OwnersTaken(ids=own)
    spent = _spent(tx, device, rules, now) - own
    if rules.users is not None:
        return OwnersTaken(ids=own | ({user.id for user in rules.users} - spent))
    return OwnersTaken(ids=frozenset(id for id in spent if id is not None), excepted=True, nobodys=None not in spent)


def takes_now(tx: Transaction, device: Device, owner: Principal | None) -> bool:
    """Whether the rules of a device let it take a job of an owner now."""
    taken = owners_taken(tx, device)
    return taken is None or taken.include(owner)


def hindrance(tx: Transaction, device: Device, owner: Principal | None) -> str:
    """Why the rules keep a device from the jobs of an owner now, and until when; empty where they do not."""
    rules = device.rules
    if rules is None or takes_now(tx, device, owner):
        return ""
    if not device.may_be_used_by(owner):
        return f"{device.name} is for {_allowed(device)}"
    now = tx.now()
    others = "others" if device.owner is None else f"others than {device.owner.name}"
    if not rules.open_at(now):
        opens = rules.opens_at(now)
        until = f" from {_moment(opens)} {rules.time_zone}" if opens else f": no zone {rules.time_zone!r} is known here"
        return f"{device.name} takes work of {others}{until}"
    limit = rules.limit_s(now)
    if limit is None:  # the day's limit was taken away between two looks
        return ""
    limit_s, _, end = limit
    opens = rules.opens_at(end)
    until = "" if opens is None else f", and takes more from {_moment(opens)} {rules.time_zone}"
    return f"{device.name} has worked the {limit_s / 3600:.3g} h of today for {_called(owner)}{until}"


def refusal(tx: Transaction, target: JobTarget, owner: Principal | None, feature: str = "") -> str:
    """Why no board that could do a job may ever do it for an owner, and whom to ask; empty where one may."""
    fitting = [device for device in DeviceStore(tx).devices_for(target) if suits(device, target, feature)]
    return refusal_of(fitting, owner, target.device_type)


def refusal_of(fitting: Sequence[Device], owner: Principal | None, device_type: str | None) -> str:
    """Why none of these boards may ever be used by an owner; empty where one may, and where there are none."""
    if not fitting or any(device.may_be_used_by(owner) for device in fitting):
        return ""
    kind = "board" if device_type is None else f"board of type {device_type!r}"
    named = [f"{device.name} is for {_allowed(device)}" for device in fitting[:MAX_NAMED]]
    more = f", and {len(fitting) - MAX_NAMED} more are not for it either" if len(fitting) > MAX_NAMED else ""
    asked = sorted({device.owner.name for device in fitting if device.owner is not None})
    who = f"{' or '.join(asked[:MAX_NAMED])}, or an admin" if asked else "an admin"
    return (
        f"no {kind} that fits may be used for {_called(owner)}: {'; '.join(named)}{more}; ask {who} "
        "(`hilnas devices share`)"
    )


def serves_better(tx: Transaction, job: Job, target: JobTarget, owner: Principal | None) -> bool:
    """Whether a measurement that has not begun would be done sooner as this owner's: boards are closed to its own.

    Several may wait for what one job measures: who ordered it first must not keep it from those who may use the board.

    Args:
        job: the measurement, or the conversion before it.
        target: of the measurement.
    """
    if job.owner == owner or not (job.unbegun or job.kind is JobKind.CONVERT) or not DeviceStore(tx).has_rules():
        return False
    return standing(tx, target, owner) > standing(tx, target, job.owner)


def standing(tx: Transaction, target: JobTarget, owner: Principal | None) -> int:
    """How an owner stands with the boards that could do a job: 2 where one takes its jobs now, 1 where one will some
    time, 0 where all are closed to it.
    """
    devices = [device for device in DeviceStore(tx).devices_for(target) if suits(device, target)]
    if any(device.state.takes_jobs and takes_now(tx, device, owner) for device in devices):
        return 2
    return 1 if any(device.may_be_used_by(owner) for device in devices) else 0


def _spent(tx: Transaction, device: Device, rules: UseRules, now: datetime) -> frozenset[str | None]:
    """Owners who have had what a day gives them; None for nobody."""
    try:
        limit = rules.limit_s(now)
    except InvalidValueError:  # by a zone that this server does not know it is closed to them
        return frozenset()
    if limit is None:
        return frozenset()
    limit_s, since, _ = limit
    if (now - since).total_seconds() < limit_s:  # nobody can have had that much of a day that is so young
        return frozenset()
    used_s = JobStore(tx).board_time_s(device.id, since)
    return frozenset(owner_id for owner_id, seconds in used_s.items() if seconds >= limit_s)


def _allowed(device: Device) -> str:
    """Whom a board's rules name, its owner first."""
    users = () if device.rules is None or device.rules.users is None else device.rules.users
    others = [user.name for user in users]
    names = others if device.owner is None else [f"its owner {device.owner.name}", *others]
    if not names:
        return "nobody"
    shown = ", ".join(names[: MAX_NAMED + 1])
    return shown if len(names) <= MAX_NAMED + 1 else f"{shown} and {len(names) - MAX_NAMED - 1} more"


def _called(owner: Principal | None) -> str:
    return "work without an owner" if owner is None else owner.name


def _moment(wall: datetime) -> str:
    """A time on the wall, such as `Mon 2026-11-30 18:00`."""
    return f"{wall:%a %Y-%m-%d %H:%M}"
