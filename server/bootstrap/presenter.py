"""Events as resources."""

from __future__ import annotations

from server.bootstrap.schemas import EventResource
from server.core.events import Event


def event_resource(event: Event) -> EventResource:
    """One event."""
    return EventResource(
        id=event.id,
        type=event.type.value,
        data=dict(event.payload),
        search_id=event.search_id,
        supernet_id=event.supernet_id,
        device_id=event.device_id,
        study_id=event.study_id,
        created_at=event.created_at,
    )
