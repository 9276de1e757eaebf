"""Resources of tokens and enrolment tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from nas_engine.settings.base import Labels
from server.core.http.resources import Body, Id, NameText, Resource

RoleName = Literal["viewer", "engineer", "agent", "admin"]


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

    roles: Annotated[list[RoleName], BeforeValidator(sorted)]
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
