"""Changes on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator, Field

from server.access.changes.change import ActorKind, ChangeAction, SubjectKind
from server.access.token import Role
from server.core.http.resources import Id, ListQuery, Moment, Resource, Text


class ChangeListQuery(ListQuery):
    """Filters of the list of changes."""

    actor: Text | None = None
    """Who acted: name or id of a principal, id of an API token or enrolment token, `server` or `anonymous`."""

    actor_kind: list[ActorKind] = Field(default_factory=list)
    """Kinds of actors to list: token, anonymous, enrolment_token, server; all unless given."""

    kind: list[SubjectKind] = Field(default_factory=list)
    """Kinds of things whose changes are listed, such as search, device or token; all unless given."""

    subject_id: Text | None = None
    """Id of the thing whose changes are listed; the digest of an artifact, the name of a data set."""

    action: list[ChangeAction] = Field(default_factory=list)
    """What was done, such as create, cancel or quarantine; everything unless given."""

    since: Moment | None = None
    """Changes made at this time or later, RFC 3339."""

    until: Moment | None = None
    """Changes made before this time, RFC 3339."""


class ActorResource(Resource):
    """Who made a change, as it was called then."""

    kind: ActorKind
    """What acted: an API token, an enrolment token, the server by itself, or anybody while authentication was off."""

    id: str
    """Id of the principal that holds the token, or of the enrolment token; else `server` or `anonymous`."""

    name: str
    """Name of the same, for people."""

    token_id: Id | None
    """Id of the API token that was shown; null where none was."""

    token_name: str
    """Name of that token; empty where none was shown."""

    roles: Annotated[list[Role], BeforeValidator(sorted)]
    """Roles of that token; empty where none was shown."""


class ChangeResource(Resource):
    """One change: who did what to which thing."""

    id: Id
    """Id of the record, `chg_...`, given by the server."""

    created_at: datetime
    """Time of the change by the database's clock, RFC 3339 in UTC."""

    actor: ActorResource
    """Who made it."""

    action: ChangeAction
    """What was done."""

    kind: SubjectKind
    """Kind of what it was done to."""

    subject_id: str
    """Id of what it was done to, the digest of an artifact; empty where it was no single thing."""

    subject_name: str
    """Name of that then; empty where it has none."""

    owner_id: Id | None
    """Id of the principal that owned it then; null for nobody."""

    members: list[str]
    """Names of the members that an amendment named; their values are not kept."""

    reason: str
    """Why the server did it by itself; empty where somebody else did."""
