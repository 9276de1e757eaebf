"""What a search optimises (objectives) and what it must respect (constraints)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nas_engine.domain.errors import EngineError
from nas_engine.domain.metric import Goal, Metric


@dataclass(frozen=True, slots=True)
class Objective:
    """One quantity to optimise.

    Attributes:
        metric: what is optimised.
        goal: which way; SCARLET maximises params, so it is not fixed by the metric.
        weight: density of the front along this objective (weighted crowding distance); 1 is neutral.
    """

    metric: Metric
    goal: Goal
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise EngineError(f"weight of objective {self.metric.name} is {self.weight}: it must be finite and > 0")

    @property
    def name(self) -> str:
        """Name of the metric, as documents and reports write it."""
        return self.metric.name

    def minimized(self, value: float) -> float:
        """`value` turned so that smaller is better. The only place where a sign is flipped."""
        return value if self.goal is Goal.MINIMIZE else -value


@dataclass(frozen=True, slots=True)
class Constraint:
    """Inclusive bounds on one metric; None means unbounded on that side."""

    metric: Metric
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        bounds = [b for b in (self.minimum, self.maximum) if b is not None]
        if not bounds:
            raise EngineError(f"constraint on {self.metric.name} has neither minimum nor maximum: give one")
        if not all(math.isfinite(b) for b in bounds):
            raise EngineError(f"constraint on {self.metric.name} has a non-finite bound {bounds}: give finite ones")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise EngineError(
                f"constraint on {self.metric.name}: minimum {self.minimum} is above maximum {self.maximum}; swap them"
            )

    def violation(self, value: float) -> float:
        """How far `value` is outside, relative to the bound (0 when inside); used as pymoo's G > 0."""
        if self.maximum is not None and value > self.maximum:
            return (value - self.maximum) / max(abs(self.maximum), 1.0)
        if self.minimum is not None and value < self.minimum:
            return (self.minimum - value) / max(abs(self.minimum), 1.0)
        return 0.0

    def satisfied(self, value: float) -> bool:
        """Whether `value` lies within the bounds."""
        return self.violation(value) == 0.0
