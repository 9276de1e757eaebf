"""Amendments of searches on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from nas_engine.settings.base import ConstraintSpec, Labels
from nas_engine.settings.stopping import StopSettings
from server.access.schemas import Owner
from server.core.http.resources import Body, Id, Json, Resource
from server.searches.amending.amendment import Amendment


class BudgetPatch(Body):
    """What of a search's budget is to be different."""

    num_candidates: int | None = Field(default=None, ge=1, le=1_000_000)
    """Number of distinct architectures that the algorithm proposes in total, no fewer than were asked already; absent:
    as it is. It cannot be taken away."""


class AmendmentBody(Body):
    """JSON merge patch (RFC 7396) of what can be amended of a search spec: members that are to be different.

    null takes a member away, a list replaces the whole list.
    """

    budget: BudgetPatch | None = None
    """Budget, merged member by member."""

    constraints: tuple[ConstraintSpec, ...] | None = Field(default=None, max_length=16)
    """All constraints from now on: those there are with other bounds, without some, with more. A new one is on a metric
    that the search has already, or on one that the layer graph gives. null: none."""

    stop: StopSettings | None = None
    """Rules by which the search ends sooner, merged member by member; null takes away all of them."""

    priority: int | None = Field(default=None, ge=-100, le=100)
    """Priority of jobs queued from now on; those with a higher one are leased first."""

    labels: Labels | None = None
    """Labels, merged by name; null takes away all of them."""


class SpecChangeResource(Resource):
    """One member of a spec that was changed."""

    pointer: str
    """JSON pointer to the member in the spec; a list, of constraints or of a target, is one member."""

    old: Json
    """Value before the amendment; null where the member was absent."""

    new: Json
    """Value since the amendment; null where the member is absent."""


class AmendmentResource(Resource):
    """One amendment of a search: what, by whom, when."""

    search_id: Id
    """Search that was amended."""

    seq: int
    """Number of the amendment within the search, 1 for the first."""

    step_seq: int
    """Number of the last step that went by the spec before; 0 where none was committed."""

    amended_at: datetime
    """Time at which it was amended, RFC 3339."""

    amended_by: Id | None
    """Token that it was amended with; null without authentication."""

    principal: Owner
    """Principal that amended it: whose token that was; null without authentication."""

    changes: list[SpecChangeResource]
    """What was changed, member by member."""

    @classmethod
    def of_amendment(cls, amendment: Amendment) -> AmendmentResource:
        """One amendment, read from its value."""
        return cls.of(amendment, amended_by=amendment.token_id)
