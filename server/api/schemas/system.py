"""Tokens, events, artifacts and the state of the server on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from server.api.schemas.wire import Body, Id, Json, NameText, Resource, Sha256
from server.service.spec_parts import Labels

RoleName = Literal["viewer", "engineer", "agent", "admin"]
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


class TokenBody(Body):
    """A token to be made."""

    name: NameText
    roles: Annotated[list[RoleName], Field(min_length=1, max_length=4)]
    """viewer reads; engineer also starts and stops things; admin also makes tokens."""

    expires_in_s: int | None = Field(default=None, ge=60, le=10 * 365 * 86_400)
    """Seconds until it expires; absent: never."""


class TokenResource(Resource):
    """A bearer token; its secret is shown once, when it is made."""

    id: Id
    name: str
    prefix: str
    """The readable start of the secret."""

    roles: list[RoleName]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewTokenResource(TokenResource):
    """A token just made."""

    secret: str
    """Shown this once."""


class EnrolmentTokenBody(Body):
    """A token that lets boards enrol."""

    name: NameText
    max_uses: int | None = Field(default=None, ge=1, le=100_000)
    """Boards that may enrol with it; absent: any number."""

    labels: Labels = Field(default_factory=dict)
    """Put on every board that enrols with it."""

    expires_in_s: int | None = Field(default=None, ge=60, le=10 * 365 * 86_400)


class EnrolmentTokenResource(Resource):
    """A token that lets boards enrol; its secret is shown once."""

    id: Id
    name: str
    max_uses: int | None
    num_uses: int
    labels: dict[str, str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewEnrolmentTokenResource(EnrolmentTokenResource):
    """An enrolment token just made."""

    secret: str
    """Shown this once."""


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


class ArtifactResource(Resource):
    """Content-addressed bytes."""

    sha256: Sha256
    size_bytes: int
    media_type: str
    created_at: datetime


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
