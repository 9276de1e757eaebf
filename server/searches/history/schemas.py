"""What a search has reached over its course, on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from server.core.http.resources import Id, Resource
from server.searches.fronts.schemas import FrontObjectiveResource


class HypervolumeQuery(BaseModel):
    """How much of a history to read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_points: Annotated[int, Field(ge=1, le=2000)] = 500
    """Most points to answer with, evenly spread over the evaluations; the last one is among them."""


class HypervolumePointResource(Resource):
    """The hypervolume after so many evaluations."""

    num_evaluated: int
    """Number of complete candidates it is of, in the order they were asked."""

    hypervolume: float
    """Hypervolume of the front of these candidates against reference_point, in the objectives' own units."""

    front_size: int
    """Number of feasible non-dominated candidates among them."""

    at: datetime | None
    """Time at which the last of these candidates was complete, RFC 3339; null where that was not recorded."""


class HypervolumeResource(Resource):
    """How the hypervolume of a search grew, evaluation by evaluation; reckoned from what is stored for ever."""

    search_id: Id
    """Search whose candidates it is of."""

    objectives: list[FrontObjectiveResource]
    """Axes of the front, in the order of the reference point."""

    reference_point: list[float] | None
    """Reference point of every hypervolume here, one value per objective; null before the first front."""

    num_evaluated: int
    """Number of complete candidates in all."""

    points: list[HypervolumePointResource]
    """Points of the history, by num_evaluated."""
