"""Several searches side by side, on the wire."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from server.candidates.states import SearchState
from server.core.http.resources import Id, IntervalResource, Resource
from server.searches.fronts.schemas import FrontObjectiveResource

MAX_COMPARED = 20


class ComparisonQuery(BaseModel):
    """Which searches to compare."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    search_id: list[str] = Field(min_length=1, max_length=MAX_COMPARED)
    """Searches to compare, by name or id; the parameter is repeated."""


class ComparedPointResource(Resource):
    """One member of a front that is compared."""

    candidate_id: Id
    """Candidate at this point."""

    short_id: str
    """Name of the candidate that is taken wherever its id is."""

    values: list[float]
    """Values of the objectives, one each, in their order and units."""

    uncertainties: list[float | None]
    """Standard errors of the values; null where exact or not known."""

    intervals: list[IntervalResource] = Field(default_factory=list)
    """The same values with their 95 % intervals, and as people write them; absent from servers that do not tell."""

    on_joint_front: bool
    """Whether no point of any of the compared fronts is better in everything."""


class ComparedSearchResource(Resource):
    """One of several searches."""

    search_id: Id
    """Search that the figures are of."""

    short_id: str
    """The end of its id, taken wherever the id is."""

    name: str
    """Name of the search, for people."""

    state: SearchState
    """State of the search: of one that runs, the front as it stands."""

    num_complete: int
    """Number of complete candidates that the front was taken from."""

    front_size: int
    """Number of points of its front."""

    hypervolume: float
    """Hypervolume of its front against the reference point of all, in the objectives' own units."""

    share: float | None
    """Hypervolume as a fraction of that of all fronts together; null where that is nothing."""

    num_on_joint_front: int
    """Number of its points that are on the front of all together."""

    points: list[ComparedPointResource]
    """Points of its front, by the first objective, best first."""


class ComparisonResource(Resource):
    """Fronts of several searches against one reference point."""

    objectives: list[FrontObjectiveResource]
    """Axes of all fronts, in the order of every list of values."""

    reference_point: list[float] | None
    """Reference point of every hypervolume here: objective by objective the worst of the searches' own and of what lies
    just beyond every front; null where no search has a front."""

    hypervolume: float
    """Hypervolume of all fronts together."""

    searches: list[ComparedSearchResource]
    """Searches in the order they were named."""
