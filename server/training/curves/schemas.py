"""Learning curves on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from server.core.http.resources import Id, Resource


class CurveQuery(BaseModel):
    """How much of a curve to read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_points: Annotated[int, Field(ge=1, le=2000)] = 500
    """Most points to answer with, evenly spread over the curve; its first and last are among them."""


class TrainingPointResource(Resource):
    """What a training reported at one step."""

    step: int
    """Number of optimizer steps done."""

    loss: float | None
    """Mean training loss since the point before; null where it was not reported."""

    top1: float | None
    """Fraction of augmented training images classified correctly since the point before, 0 to 1; null where it was not
    reported."""

    learning_rate: float | None
    """Learning rate of the last step; null where it was not reported."""

    images_per_s: float | None
    """Training images per second of all processes together, since training was started or resumed; null where it was
    not reported."""

    at: datetime
    """Time at which it was reported, RFC 3339."""


class CurveResource(Resource):
    """The learning curve of a supernet or a network: kept, resumed trainings without doubled points."""

    trained_id: Id
    """The supernet or network that was trained."""

    num_kept: int
    """Number of points that are kept of it, at most 2000: of longer ones every second, fourth, ... report."""

    points: list[TrainingPointResource]
    """Points of the curve, by step."""
