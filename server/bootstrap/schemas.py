"""Resources of events, health, readiness, versions and problem types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.core.http.resources import (
    Id,
    Json,
    Resource,
)

EventTypeName = Literal[
    "state",
    "generation",
    "work",
    "candidate",
    "measurement",
    "job",
    "supernet",
    "training",
    "device",
    "study",
    "study_entry",
]


class EventListQuery(BaseModel):
    """Which events; oldest first. The event id is the position: there is no page token."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    after: Annotated[int, Field(ge=0, le=2**62)] = 0
    """Only events with a larger id; the Last-Event-ID header wins."""

    limit: int = Field(default=100, ge=1, le=500)
    """Events on a page; a stream has no pages."""


class EventResource(Resource):
    """Something that happened."""

    id: int
    """Grows with every event; continue after it."""

    type: EventTypeName
    data: dict[str, Json]
    search_id: Id | None
    supernet_id: Id | None
    device_id: Id | None
    study_id: Id | None
    created_at: datetime


class EventPage(Resource):
    """Some events, oldest first."""

    items: list[EventResource]
    last_id: int
    """Ask with `after` set to this for what follows."""

    ended: bool
    """Whether the subject has ended: nothing follows the events that are there."""


class VersionResource(Resource):
    """Which server this is."""

    version: str
    api: Literal["v1"] = "v1"


class HealthResource(Resource):
    """Whether the process is alive."""

    status: Literal["ok"] = "ok"


class ReadinessCheck(Resource):
    """One thing the server needs."""

    name: str
    ok: bool
    detail: str


class ReadinessResource(Resource):
    """Whether the server can do its work."""

    status: Literal["ready", "not_ready"]
    checks: list[ReadinessCheck]


class ProblemTypeResource(Resource):
    """One kind of failure."""

    type: str
    """What problem documents carry."""

    status: int
    title: str
    remedy: str
    """What the caller can do about it."""
