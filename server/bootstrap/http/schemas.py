"""Resources of events, health, readiness, versions and problem types."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.core.event_type import EventType
from server.core.http.resources import (
    Id,
    Json,
    Resource,
)


class EventListQuery(BaseModel):
    """Which events; oldest first. The event id is the position: there is no page token."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    after: Annotated[int, Field(ge=0, le=2**62)] = 0
    """Events with a larger id than this; the Last-Event-ID header wins."""

    limit: int = Field(default=100, ge=1, le=500)
    """Number of events on a page; a stream has no pages."""


class EventResource(Resource):
    """An event of a search, supernet, network, device or study."""

    id: int
    """Number that grows with every event; continue after it."""

    type: EventType
    """Type of the event, which fixes the members of data."""

    data: dict[str, Json]
    """Content of the event; its members depend on the type."""

    search_id: Id | None
    """Search it concerns; null where it concerns none."""

    supernet_id: Id | None
    """Supernet it concerns, or, as clients of the first release read it, the network; null where it concerns none."""

    network_id: Id | None = None
    """Network it concerns; null where it concerns none."""

    device_id: Id | None
    """Device it concerns; null where it concerns none."""

    study_id: Id | None
    """Ranking study it concerns; null where it concerns none."""

    created_at: datetime
    """Time at which the event was committed, RFC 3339."""


class EventPage(Resource):
    """Some events, oldest first."""

    items: list[EventResource]
    """Events of the page, oldest first."""

    last_id: int
    """Position after this page: ask with `after` set to it for what follows."""

    ended: bool
    """Whether the subject has ended: nothing follows the events that are there."""


class VersionResource(Resource):
    """Which server this is."""

    version: str
    """Version of the installed hilnas package."""

    api: Literal["v1"] = "v1"
    """Version of the REST interface, as in its paths."""


class HealthResource(Resource):
    """Whether the process is alive."""

    status: Literal["ok"] = "ok"
    """Always `ok`: an answer means that the process is alive."""


class ReadinessCheck(Resource):
    """One thing the server needs."""

    name: str
    """Name of what was checked."""

    ok: bool
    """Whether the check passed."""

    detail: str
    """What was found, and what to do where it failed."""


class ReadinessResource(Resource):
    """Whether the server can do its work."""

    status: Literal["ready", "not_ready"]
    """Whether every check passed."""

    checks: list[ReadinessCheck]
    """Result of each check, in the order made."""


class ProblemTypeResource(Resource):
    """One kind of failure."""

    type: str
    """URI of the type, as problem documents carry it."""

    status: int
    """HTTP status of answers with this problem."""

    title: str
    """Short name of the problem, the same in every document."""

    remedy: str
    """What the caller can do about it."""
