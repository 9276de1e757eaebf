"""Metrics: what a candidate is judged by. A metric is declared once; values of it are rows that name it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from nas_engine.domain.plugins.doors import Declaration, PluginError


class Goal(Enum):
    """Whether smaller or larger values of a metric are better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class MetricSource(Enum):
    """Where the values of a metric come from."""

    GRAPH = "graph"  # a function of the layer graph: known before anything is trained or measured
    EVALUATED = "evaluated"  # by a worker, on a sub-network and a data set
    MEASURED = "measured"  # by a device


@dataclass(frozen=True, slots=True)
class Metric:
    """Quantity that candidates are judged by; two are the same where their names are.

    Attributes:
        name: as documents, filters and rows write it.
        unit: of its values; empty for plain numbers.
        goal: which values are better where a search does not say otherwise.
    """

    name: str
    unit: str = field(compare=False)
    goal: Goal = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class MetricDeclaration(Declaration):
    """Declaration of a metric: where its values come from, and what computes them.

    The implementation of a metric from the layer graph is a function of a DEPLOYED `LayerGraph`, and of the settings
    where it has some, that returns a number; it needs numpy at most. That of an evaluated metric is a function
    `(subnet, batches, settings) -> (value, uncertainty)`, without settings where it has none, of a `torch.nn.Module` in
    evaluation mode and batches of `(images_NCHW, labels_N)`; the uncertainty is a standard error, or None. What a
    device measures has none.

    Attributes:
        unit: of its values; empty for plain numbers.
        goal: which values are better where a search does not say otherwise.
        source: where its values come from.
        minimum, maximum: bounds that every value keeps.
        searched: whether a search may look at it; accuracies on test images are reported at its end alone.
        label: what pages call it; its name where none is given.
        column: shorter words for it, above columns and at axes; its label where none are given.
        words: what it is called in sentences; its label where nothing is given.
        listed: whether tables of candidates show it where the search does not look at it.
    """

    unit: str
    goal: Goal
    source: MetricSource
    implementation: str = ""
    minimum: float = -math.inf
    maximum: float = math.inf
    searched: bool = True
    label: str = ""
    column: str = ""
    words: str = ""
    listed: bool = True

    def __post_init__(self) -> None:
        label = self.label or self.name
        for field_name, text in (("label", label), ("column", self.column or label), ("words", self.words or label)):
            object.__setattr__(self, field_name, text)
        if self.source is not MetricSource.MEASURED:
            Declaration.__post_init__(self)
        elif self.implementation:
            raise PluginError(f"metric {self.name} is measured by devices: it has no implementation, leave it out")

    @property
    def metric(self) -> Metric:
        """What its values are filed under."""
        return Metric(self.name, self.unit, self.goal)

    @property
    def split(self) -> Literal["validation", "test"]:
        """Held-out images that it is evaluated on: what searches look at never sees those of the final report."""
        return "validation" if self.searched else "test"

    @property
    def is_cheap(self) -> bool:
        """Whether it is known before a candidate is evaluated."""
        return self.source is MetricSource.GRAPH
