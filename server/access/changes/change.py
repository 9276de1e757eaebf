"""Changes: who did what to which thing, and when. Standard library alone: the SDK reads them with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from server.access.token import Role
from server.core.ids import IdPrefix, has_prefix


class ActorKind(StrEnum):
    """What made a change: somebody with a token, somebody without, a board being let in, or the server itself."""

    TOKEN = "token"  # whoever showed an API token, or signed in on the pages with one
    ANONYMOUS = "anonymous"  # whoever called while authentication was switched off
    ENROLMENT_TOKEN = "enrolment_token"  # an agent that let its board in with one
    SERVER = "server"  # the server, on its own


class SubjectKind(StrEnum):
    """What a change was made to; its members are named as those of `server.access.permissions.Kind`."""

    SEARCH = "search"
    WHAT_IF = "what_if"
    CANDIDATE = "candidate"
    SUPERNET = "supernet"
    NETWORK = "network"
    STUDY = "ranking_study"
    TABLE = "latency_table"
    REPORT = "cost_report"
    JOB = "job"
    ARTIFACT = "artifact"
    SPACE = "search_space"
    DATASET = "data_set"
    DEVICE = "device"
    PRINCIPAL = "principal"
    TOKEN = "token"
    ENROLMENT = "enrolment_token"


class ChangeAction(StrEnum):
    """What was done."""

    CREATE = "create"
    REGISTER = "register"
    UNREGISTER = "unregister"
    AMEND = "amend"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    TELL = "tell"
    EXPORT = "export"
    MEASURE = "measure"
    UPLOAD = "upload"
    SCRUB = "scrub"
    ENROL = "enrol"
    LABEL = "label"
    DRAIN = "drain"
    DEGRADE = "degrade"
    QUARANTINE = "quarantine"
    RESERVE = "reserve"
    RELEASE = "release"
    RETIRE = "retire"
    UNRETIRE = "unretire"
    CONFIRM = "confirm"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who made a change, as it was called then.

    Attributes:
        id: of the principal, or of the enrolment token; else the word of its kind.
        name: of the same, for people.
        token_id, token_name: of the API token that was shown; None and empty where none was.
        roles: of that token.
    """

    kind: ActorKind
    id: str
    name: str
    token_id: str | None = None
    token_name: str = ""
    roles: frozenset[Role] = frozenset()


SERVER = Actor(kind=ActorKind.SERVER, id="server", name="server")
ANONYMOUS = Actor(kind=ActorKind.ANONYMOUS, id="anonymous", name="anonymous")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change; it stands in the database if and only if what it tells of does.

    Attributes:
        id: ``chg_...``.
        subject_id: id of what was changed, the digest of an artifact; empty where it was no single thing.
        subject_name: its name then; empty where it has none.
        owner_id: principal that owned it then; None for nobody.
        members: names of the members that an amendment named; their values are not kept.
        reason: why the server did it; empty where somebody else did.
        created_at: by the database's clock.
    """

    id: str
    actor: Actor
    action: ChangeAction
    kind: SubjectKind
    subject_id: str = ""
    subject_name: str = ""
    owner_id: str | None = None
    members: tuple[str, ...] = ()
    reason: str = ""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeQuery:
    """Which changes to list; None and () do not filter. Newest first.

    Attributes:
        visible_to: principal whose own things, and whose own acts, are listed; None: everybody's.
        actor: id of a principal, of an API token or of an enrolment token; ``server`` or ``anonymous``.
        actor_kinds, kinds, actions: any of these.
        subject_id: exactly this.
        since: made then or later.
        until: made before then.
    """

    visible_to: str | None = None
    actor: str | None = None
    actor_kinds: tuple[ActorKind, ...] = ()
    kinds: tuple[SubjectKind, ...] = ()
    actions: tuple[ChangeAction, ...] = ()
    subject_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_KIND_OF = {
    IdPrefix.SEARCH: SubjectKind.SEARCH,
    IdPrefix.WHAT_IF: SubjectKind.WHAT_IF,
    IdPrefix.CANDIDATE: SubjectKind.CANDIDATE,
    IdPrefix.SUPERNET: SubjectKind.SUPERNET,
    IdPrefix.NETWORK: SubjectKind.NETWORK,
    IdPrefix.STUDY: SubjectKind.STUDY,
    IdPrefix.LATENCY_TABLE: SubjectKind.TABLE,
    IdPrefix.COST_REPORT: SubjectKind.REPORT,
    IdPrefix.JOB: SubjectKind.JOB,
    IdPrefix.DEVICE: SubjectKind.DEVICE,
    IdPrefix.PRINCIPAL: SubjectKind.PRINCIPAL,
    IdPrefix.TOKEN: SubjectKind.TOKEN,
    IdPrefix.ENROLMENT: SubjectKind.ENROLMENT,
}


def kind_of(subject_id: str, otherwise: SubjectKind) -> SubjectKind:
    """What an id names, whichever route took it: those of searches also take latency tables, and supernets networks."""
    return next((kind for prefix, kind in _KIND_OF.items() if has_prefix(subject_id, prefix)), otherwise)
