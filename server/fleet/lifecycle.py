"""How devices change their state."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.domain.json_value import JsonValue
from server.access.changes.change import ChangeAction, SubjectKind
from server.access.changes.changes import Subject, note_own_change
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.transitions import check_transition
from server.fleet.device import DEVICE_TRANSITIONS, Device, DeviceState
from server.fleet.store import DeviceStore


def set_device_state(
    tx: Transaction, device: Device, state: DeviceState, reason: str, *, returning: bool = False
) -> Device:
    """Move a locked device to another state, with its event.

    Args:
        returning: an admin takes a retired device back, which the state machine has no step for.

    Raises:
        InvalidStateTransitionError: the state machine has no such step.
    """
    if not returning:
        check_transition("device", device.id, DEVICE_TRANSITIONS, device.state, state)
    failures = 0 if state is DeviceState.ACTIVE else device.num_failures_in_a_row
    changed = replace(device, state=state, reason=reason, num_failures_in_a_row=failures)
    note_device(tx, changed, reason)
    tx.wake(Topic.DEVICE_JOBS)
    return DeviceStore(tx).save_device(changed)


def move_device(tx: Transaction, device: Device, state: DeviceState, reason: str) -> Device:
    """Move a locked device to another state because the server finds that it must, with the record of that.

    Raises:
        InvalidStateTransitionError: the state machine has no such step.
    """
    moved = set_device_state(tx, device, state, reason)
    subject = Subject(device.name, None if device.owner is None else device.owner.id)
    note_own_change(tx, _OWN_ACTIONS[state], SubjectKind.DEVICE, device.id, subject, reason)
    return moved


_OWN_ACTIONS = {
    DeviceState.ACTIVE: ChangeAction.RESUME,
    DeviceState.DEGRADED: ChangeAction.DEGRADE,
    DeviceState.QUARANTINED: ChangeAction.QUARANTINE,
}


def note_device(tx: Transaction, device: Device, reason: str) -> None:
    """Append the event of a change to a device."""
    payload: dict[str, JsonValue] = {"name": device.name, "state": device.state.value, "reason": reason}
    EventStore(tx).append_event(NewEvent(type=EventType.DEVICE, payload=payload, device_id=device.id))
