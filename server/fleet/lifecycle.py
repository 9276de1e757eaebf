"""How devices change their state."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.domain.json_value import JsonValue
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.transitions import check_transition
from server.fleet.device import DEVICE_TRANSITIONS, Device, DeviceState
from server.fleet.store import DeviceStore


def set_device_state(tx: Transaction, device: Device, state: DeviceState, reason: str) -> Device:
    """Move a locked device to another state, with its event.

    Raises:
        InvalidStateTransitionError: the state machine has no such step.
    """
    check_transition("device", device.id, DEVICE_TRANSITIONS, device.state, state)
    failures = 0 if state is DeviceState.ACTIVE else device.num_failures_in_a_row
    payload: dict[str, JsonValue] = {"name": device.name, "state": state.value, "reason": reason}
    EventStore(tx).append_event(NewEvent(type=EventType.DEVICE, payload=payload, device_id=device.id))
    tx.wake(Topic.DEVICE_JOBS)
    return DeviceStore(tx).save_device(replace(device, state=state, reason=reason, num_failures_in_a_row=failures))
