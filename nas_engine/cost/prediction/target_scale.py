"""Scales that metrics are learned on: where equal steps are about equally likely and outliers do not rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from nas_engine.cost.prediction.encodings import Floats
from nas_engine.domain.metric import Goal, Metric

LOGARITHMIC_SPAN = 3.0
"""Positive metrics that span more than this factor are learned on a logarithmic scale until models are compared."""

TAIL_START = 3.0
"""Bad values farther from the median than this many times the good decile are drawn together logarithmically."""

SMALLEST_DEVIATION = 1e-6
"""Of a prediction, in units of the targets: below this the slope is taken."""


class Scale(Enum):
    """The scale a metric is learned on.

    LOG_ERROR is minus the logarithm of what a fraction (accuracy) lacks to 1: accuracies saturate, and the step from
    92 % to 93 % is as hard to make as many an earlier larger one.
    """

    LINEAR = "linear"
    LOG = "log"
    LOG_ERROR = "log_error"

    @classmethod
    def fitting(cls, metric: Metric, values: Floats) -> Scale:
        """The scale for these values of a metric, before any model has said which fits better."""
        if metric.unit == "fraction":
            return cls.LOG_ERROR if values.max() < 1.0 else cls.LINEAR
        spans = values.min() > 0 and values.max() > LOGARITHMIC_SPAN * values.min()
        return cls.LOG if spans else cls.LINEAR

    def holds(self, values: Floats) -> bool:
        """Whether these values lie on it."""
        match self:
            case Scale.LINEAR:
                return True
            case Scale.LOG:
                return bool(values.min() > 0.0)
            case Scale.LOG_ERROR:
                return bool(values.max() < 1.0)

    def other(self, values: Floats) -> Scale | None:
        """What else these values may be learned on: sums of terms, or products; None for what saturates."""
        if self is Scale.LOG_ERROR or values.min() <= 0.0 or values.max() <= values.min():
            return None
        return Scale.LINEAR if self is Scale.LOG else Scale.LOG

    def forward(self, values: Floats) -> Floats:
        """Bring metric values onto the scale the process is fitted on."""
        match self:
            case Scale.LINEAR:
                return values
            case Scale.LOG:
                return np.asarray(np.log(values))
            case Scale.LOG_ERROR:
                return np.asarray(-np.log1p(-values))

    def backward(self, values: Floats) -> Floats:
        """Bring values of the fitted scale back to the metric's unit."""
        match self:
            case Scale.LINEAR:
                return values
            case Scale.LOG:
                return np.asarray(np.exp(values))
            case Scale.LOG_ERROR:
                return np.asarray(-np.expm1(-values))

    def step(self, values: Floats) -> Floats:
        """How far the metric moves per unit of this scale, at metric values `values`."""
        match self:
            case Scale.LINEAR:
                return np.ones_like(values)
            case Scale.LOG:
                return values
            case Scale.LOG_ERROR:
                return 1.0 - values


@dataclass(frozen=True, slots=True)
class TargetScale:
    """From a metric's unit to standardised targets, and back.

    Attributes:
        scale: applied first.
        sign: -1 where smaller values are better, so that larger is better in between.
        median: of the values on the scale.
        spread: unit of the values about the median; beyond `TAIL_START` of it, bad values are drawn together.
        centre: mean of what results.
        deviation: standard deviation of what results.
    """

    scale: Scale
    sign: float
    median: float
    spread: float
    centre: float
    deviation: float

    @classmethod
    def fitting(cls, metric: Metric, values: Floats, scale: Scale | None = None) -> TargetScale:
        """The scale for these values of a metric; None leaves to their span which it is."""
        if scale is None or not scale.holds(values):
            scale = Scale.fitting(metric, values)
        sign = -1.0 if metric.goal is Goal.MINIMIZE else 1.0
        on_scale = sign * scale.forward(values)
        median = float(np.median(on_scale))
        spread = float(np.quantile(on_scale, 0.9)) - median or float(on_scale.std()) or 1.0
        drawn = _drawn((on_scale - median) / spread)
        return cls(scale, sign, median, spread, float(drawn.mean()), float(drawn.std()) or 1.0)

    def forward(self, values: Floats) -> Floats:
        """Standardised targets of metric values."""
        drawn = _drawn((self.sign * self.scale.forward(values) - self.median) / self.spread)
        return np.asarray((drawn - self.centre) / self.deviation)

    def backward(self, targets: Floats) -> Floats:
        """Metric values of standardised targets."""
        drawn = targets * self.deviation + self.centre
        beyond = np.minimum(np.maximum(-drawn - TAIL_START, 0.0), 50.0)
        spread_out = np.asarray(np.maximum(drawn, -TAIL_START) - np.expm1(beyond))
        return self.scale.backward(self.sign * (spread_out * self.spread + self.median))

    def step(self, values: Floats) -> Floats:
        """How far the metric moves per unit of the targets, at metric values `values`."""
        drawn = (self.sign * self.scale.forward(values) - self.median) / self.spread
        slope = np.maximum(-drawn - TAIL_START + 1.0, 1.0)
        return np.asarray(self.scale.step(values) * slope * self.spread * self.deviation)

    def step_to_better(self, targets: Floats, deviations: Floats) -> Floats:
        """How far the metric moves per unit of the targets, averaged over one deviation towards the better side.

        Where bad values were drawn together, a unit of the targets is far more of the metric on the worse side than on
        the better one: `step` there would promise gains that no evaluation brings.

        Args:
            targets: predicted.
            deviations: of the truth around them, in units of the targets.
        """
        reach = np.maximum(deviations, SMALLEST_DEVIATION)
        return np.abs(self.backward(targets + reach) - self.backward(targets)) / reach

    def document(self) -> Mapping[str, float | str]:
        """Say how values are turned, for a checkpoint or a report."""
        return {
            "scale": self.scale.value,
            "sign": self.sign,
            "median": self.median,
            "spread": self.spread,
            "centre": self.centre,
            "deviation": self.deviation,
        }


def _drawn(places: Floats) -> Floats:
    beyond = np.maximum(-places - TAIL_START, 0.0)
    return np.asarray(np.maximum(places, -TAIL_START) - np.log1p(beyond))
