"""Resources of tokens and enrolment tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from nas_engine.domain.measuring.environment import DeviceClass
from nas_engine.settings.base import Labels
from server.access.principal import MAX_WEIGHT, MIN_WEIGHT
from server.access.token import Role
from server.core.http.resources import Body, Id, ListQuery, NameText, Resource, Text


class OwnerResource(Resource):
    """A principal: a person or a service, with one token or several, that owns what is made with them."""

    id: Id
    """Id of the principal, `prin_...`, given by the server."""

    name: str
    """Name of the principal, unique: as the admin gave it with a token, else that of the token."""


class PrincipalResource(OwnerResource):
    """A principal with the time it came in."""

    created_at: datetime
    """Time at which the server made it, with its first token, RFC 3339 in UTC."""

    weight: float = 1.0
    """Weight of its jobs, set by an admin: its share of measuring, while others wait too, is as this to theirs."""


class PrincipalAmendment(Body):
    """What an admin changes about a principal."""

    weight: Annotated[float, Field(ge=MIN_WEIGHT, le=MAX_WEIGHT)]
    """Weight of the jobs that it orders from now on, chosen by an admin; 1 where nobody has set it."""


Owner = OwnerResource | None
OwnerName = Text | None


class OwnedListQuery(ListQuery):
    """Paging for listings of things that have an owner."""

    owner: OwnerName = None
    """Name or id of a principal; only what it owns is listed."""


DeviceTypeText = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class TokenBody(Body):
    """A token to be made."""

    name: NameText
    """Name of the token for people, chosen by the admin."""

    roles: Annotated[list[Role], Field(min_length=1, max_length=4)]
    """Roles its bearer will have: viewer reads; engineer also starts and stops things; agent speaks for a device; admin
    also makes tokens."""

    principal: NameText | None = None
    """Name of the principal that will hold it: one that there is already, which then has several tokens, or a new one;
    absent: a new one for this token alone, named after it."""

    expires_in_s: int | None = Field(default=None, ge=60, le=10 * 365 * 86_400)
    """Seconds from now until it expires, chosen by the admin; absent: it never expires."""


class TokenResource(Resource):
    """A bearer token; its secret is shown once, when it is made."""

    id: Id
    """Id of the token, `tok_...`, given by the server."""

    name: str
    """Name that the admin gave it, for people."""

    prefix: str
    """First characters of the secret, by which people recognise it."""

    roles: Annotated[list[Role], BeforeValidator(sorted)]
    """Roles its bearer has, as the admin chose them."""

    created_at: datetime
    """Time at which the server made it, RFC 3339 in UTC."""

    expires_at: datetime | None
    """Time from which it is refused, set when it was made; null: it never expires."""

    revoked_at: datetime | None
    """Time at which an admin revoked it; null while it may be used."""

    last_used_at: datetime | None
    """Time of the last request that carried it, as the server noted it; null before the first."""

    owner: Owner = None
    """Principal that holds the token and owns what is made with it."""


class NewTokenResource(TokenResource):
    """A token just made."""

    secret: str
    """Secret that requests carry as a bearer token, made by the server and shown in this answer only."""


def _boards_need_a_type(schema: dict[str, Any]) -> None:
    """Describe what `EnrolmentTokens.create` refuses."""
    of_boards = {"properties": {"device_class": {"const": "board"}}, "required": ["device_class"]}
    schema["if"] = of_boards
    schema["then"] = {"properties": {"device_type": {"type": "string"}}, "required": ["device_type"]}


class EnrolmentTokenBody(Body):
    """A token that lets boards enrol."""

    model_config = ConfigDict(json_schema_extra=_boards_need_a_type)

    name: NameText
    """Name of the token for people, chosen by the admin."""

    device_class: DeviceClass = DeviceClass.EMULATED
    """Class that devices which enrol with it count as at most: board, emulated or simulated. Absent: emulated, as for
    every token of the first release; a device that says it is a board counts as emulated then."""

    device_type: DeviceTypeText | None = None
    """Only type of devices that may enrol with it, such as `rk3588`; needed for boards. Absent: every type that has no
    device of a more trusted class."""

    max_uses: int | None = Field(default=None, ge=1, le=100_000)
    """Number of devices that may enrol with it; absent: 10."""

    labels: Labels = Field(default_factory=dict)
    """Labels the server puts on every board that enrols with it."""

    expires_in_s: int | None = Field(default=None, ge=60, le=10 * 365 * 86_400)
    """Seconds from now until it expires, chosen by the admin; absent: seven days."""


class EnrolmentTokenResource(Resource):
    """A token that lets boards enrol; its secret is shown once."""

    id: Id
    """Id of the enrolment token, given by the server."""

    name: str
    """Name that the admin gave it, for people."""

    device_class: DeviceClass
    """Class that devices which enrol with it count as at most; emulated for every token of the first release."""

    device_type: str | None
    """Only type of devices that may enrol with it; null: every type that has no device of a more trusted class."""

    max_uses: int | None
    """Number of boards that may enrol with it, set by the admin; null: any number, as the first release made them."""

    num_uses: int
    """Number of boards that have enrolled with it, counted by the server."""

    labels: dict[str, str]
    """Labels the server puts on every board that enrols with it, set by the admin."""

    created_at: datetime
    """Time at which the server made it, RFC 3339 in UTC."""

    expires_at: datetime | None
    """Time from which no board enrols with it, set when it was made; null: it never expires, as the first release made
    them."""

    revoked_at: datetime | None
    """Time at which an admin revoked it; null while boards may enrol with it."""

    owner: Owner = None
    """Principal of the admin who made it: the boards that enrol with it are that principal's; null where it was made
    without authentication."""


class NewEnrolmentTokenResource(EnrolmentTokenResource):
    """An enrolment token just made."""

    secret: str
    """Secret that a board enrols with, made by the server and shown in this answer only."""
