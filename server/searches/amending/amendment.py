"""What was changed of a search while it ran: by whom, when, from what to what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from nas_engine.domain.json_value import JsonValue
from server.access.principal import Principal
from server.candidates.spec import SearchSpec

AMENDABLE = ("budget", "constraints", "stop", "priority", "labels")
"""Members of a search spec that can be amended; the others need another search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecChange:
    """One member of a spec that was changed.

    Attributes:
        pointer: JSON pointer to it; a list is one member.
        old, new: its values; None where it was, or is, absent.
    """

    pointer: str
    old: JsonValue = None
    new: JsonValue = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """One amendment of a search.

    Attributes:
        seq: 1 for the first of the search.
        step_seq: number of the step that was committed last; the next one goes by the amended spec.
        token_id: token it was made with; None without authentication.
        principal: whose token that was; None without authentication.
        changes: what differs, member by member.
        changes_constraints: whether what is feasible may differ.
        spec_before: whole spec before it; of the first one, the spec as it was launched.
    """

    search_id: str
    seq: int
    step_seq: int
    amended_at: datetime
    token_id: str | None = None
    principal: Principal | None = None
    changes: tuple[SpecChange, ...] = ()
    changes_constraints: bool = False
    spec_before: SearchSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAmendment:
    """Changes to a search under way; None leaves as is.

    Attributes:
        num_candidates, priority: of its budget and its jobs.
        labels: in place of all there are.
        patch: JSON merge patch of the members of the spec that can be amended, applied first.
    """

    num_candidates: int | None = None
    priority: int | None = None
    labels: Mapping[str, str] | None = None
    patch: Mapping[str, JsonValue] = field(default_factory=dict)
