"""Metrics of a search that evaluators outside this service bring: of the registry, or declared by the spec itself."""

from __future__ import annotations

import math

from pydantic import Field, ValidationInfo, model_validator

from nas_engine.domain.metric import Goal, Metric, MetricSource
from nas_engine.domain.metrics import declared_metric, stored_metric
from nas_engine.settings.base import OWN_METRIC_PATTERN, SpecPart

_NO_NAMES = frozenset({"seq"})
"""What lists of candidates are sorted by beside metrics."""

_NOT_FROM_OUTSIDE = {
    MetricSource.GRAPH: "is counted from the layer graph: leave it out",
    MetricSource.MEASURED: "is measured by enrolled devices alone: declare one of your own under another name",
}


class ExternalMetricSpec(SpecPart):
    """A metric whose values evaluators outside bring, by `trials:ask` and `trials:tell`."""

    metric: str = Field(pattern=OWN_METRIC_PATTERN, examples=["energy_mj"])
    """Name of the metric: one of the registry that workers would evaluate else, such as top1, or one of your own."""

    unit: str | None = Field(default=None, max_length=30, pattern=r"^[^\x00-\x1f\x7f]*$", examples=["mJ"])
    """Unit of its values, `""` for plain numbers; needed for one of your own, and absent for one of the registry."""

    goal: Goal | None = None
    """Direction in which its values are better; needed for one of your own, and absent for one of the registry."""

    minimum: float | None = None
    """Smallest value there can be, in its unit; what is told below it is refused. Absent: unbounded below."""

    maximum: float | None = None
    """Largest value there can be, in its unit; what is told above it is refused. Absent: unbounded above."""

    @model_validator(mode="after")
    def _declared(self, info: ValidationInfo) -> ExternalMetricSpec:
        if (info.context or {}).get("stored"):  # what is installed may have changed since
            return self
        registered = declared_metric(self.metric)
        if registered is None:
            if self.metric in _NO_NAMES:
                raise ValueError(f"{self.metric} is what candidates are numbered by: take another name")
            missing = [name for name in ("unit", "goal") if getattr(self, name) is None]
            if missing:
                raise ValueError(
                    f"no metric {self.metric} is registered, so this declares one: add its {' and its '.join(missing)}"
                    ' (unit "" for plain numbers, goal minimize or maximize)'
                )
            if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
                raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}: swap them")
            return self
        if (reason := _NOT_FROM_OUTSIDE.get(registered.source)) is not None:
            raise ValueError(f"{self.metric} {reason}")
        said = [name for name in ("unit", "goal", "minimum", "maximum") if getattr(self, name) is not None]
        if said:
            raise ValueError(f"{self.metric} is registered with its unit, goal and bounds: leave {', '.join(said)} out")
        return self

    @property
    def is_own(self) -> bool:
        """Whether the spec declares it, and not the registry."""
        return self.unit is not None

    def declared(self) -> Metric:
        """What its values are filed under."""
        if self.unit is None:
            return stored_metric(self.metric)
        return Metric(self.metric, self.unit, self.goal or Goal.MINIMIZE)

    def bounds(self) -> tuple[float, float]:
        """Least and largest value that can be told, in the metric's unit; infinite where it is unbounded."""
        registered = None if self.is_own else declared_metric(self.metric)
        if registered is not None:
            return registered.minimum, registered.maximum
        low, high = self.minimum, self.maximum
        return -math.inf if low is None else low, math.inf if high is None else high
