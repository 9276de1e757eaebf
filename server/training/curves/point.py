"""Learning curves: what a training reported as it went on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from server.core.errors import InvalidValueError
from server.training.training import TrainingProgress

V = TypeVar("V")
MAX_POINTS = 2000
"""Most that are kept of one training; of longer curves every second, fourth, ... report is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPoint:
    """One report of a training of a supernet or a network.

    Attributes:
        trained_id: the supernet or network.
        step: updates made.
        loss, top1: means since the report before, on augmented training batches; top1 from 0 to 1.
        learning_rate: of the last update.
        images_per_s: of all processes together, since the process that reported was started.
        at: when it was reported.
    """

    trained_id: str
    step: int
    loss: float | None = None
    top1: float | None = None
    learning_rate: float | None = None
    images_per_s: float | None = None
    at: datetime

    def __post_init__(self) -> None:
        numbers = (self.loss, self.top1, self.learning_rate, self.images_per_s)
        if not all(number is None or math.isfinite(number) for number in numbers):
            raise InvalidValueError(f"a point of a learning curve holds a non-finite number: {numbers}")

    @classmethod
    def of_progress(cls, trained_id: str, progress: TrainingProgress, at: datetime) -> TrainingPoint:
        """The point that a report adds."""
        known = progress.metrics
        return cls(
            trained_id=trained_id,
            step=progress.step,
            loss=progress.loss,
            top1=known.get("top1"),
            learning_rate=known.get("learning_rate"),
            images_per_s=known.get("images_per_s"),
            at=at,
        )


def thinned(values: Sequence[V], max_num: int) -> list[V]:
    """At most so many of the values, evenly spread, the first and the last among them (of one: the last)."""
    if len(values) <= max_num:
        return list(values)
    if max_num == 1:
        return [values[-1]]
    last = len(values) - 1
    return [values[round(place * last / (max_num - 1))] for place in range(max_num)]


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """A learning curve, or some points of it.

    Attributes:
        num_kept: points that are kept of the training.
        points: by step.
    """

    trained_id: str
    num_kept: int
    points: tuple[TrainingPoint, ...]
