"""The range of a cheap metric over a space, so that an impossible constraint is refused before a search starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InfeasibleError
from nas_engine.domain.metric import Goal, Metric
from nas_engine.domain.metrics import is_cheap
from nas_engine.domain.objective import Constraint
from nas_engine.domain.search_space import Form, SearchSpace, sample_genotype
from nas_engine.domain.uncertainty import value_text
from nas_engine.domain.views.graph_metrics import graph_values

MAX_PASSES = 4  # coordinate passes; SPOS, whose blocks are independent, needs one


@dataclass(frozen=True, slots=True)
class MetricRange:
    """Smallest and largest value found, with the genotypes that reach them.

    Exact where every gene's effect is independent of the others or monotone (SPOS, AttentiveNAS);
    elsewhere the best of a coordinate search from several starts, a true inner range.
    """

    metric: Metric
    minimum: float
    maximum: float
    smallest: Genotype
    largest: Genotype


def metric_range(
    space: SearchSpace,
    metric: Metric,
    settings: Any = None,
    *,
    num_starts: int = 8,
    seed: int = 0,
    values: GraphValues | None = None,
) -> MetricRange | None:
    """Find the range of one cheap metric, with its settings; None for a space without layer graphs.

    Args:
        values: what ranges of other metrics have found of this space.
    """
    rng = np.random.default_rng(seed)
    starts = [tuple(0 for _ in space.genes), tuple(g.num_choices - 1 for g in space.genes)]
    starts += [sample_genotype(space.genes, rng) for _ in range(num_starts)]
    remembered = values or GraphValues(space)

    def value(genotype: Genotype) -> float | None:
        return remembered.value(genotype, metric, settings)

    known = [(start_value, start) for start in starts if (start_value := value(start)) is not None]
    if not known:
        return None
    # One descent each way, from the best start: passes are what costs time in large spaces.
    low = _descend(space, value, min(known)[1], Goal.MINIMIZE)
    high = _descend(space, value, max(known)[1], Goal.MAXIMIZE)
    return MetricRange(metric, low[0], high[0], low[1], high[1])


def refuse_impossible(space: SearchSpace, constraint: Constraint) -> None:
    """Raise where no architecture of the space can satisfy a cheap constraint.

    Raises:
        InfeasibleError: with the bound, the space and the feasible range.
    """
    if not is_cheap(constraint.metric):
        return
    feasible = metric_range(space, constraint.metric)
    if feasible is None:
        return
    too_low = constraint.maximum is not None and constraint.maximum < feasible.minimum
    too_high = constraint.minimum is not None and constraint.minimum > feasible.maximum
    if too_low or too_high:

        def text(value: float | None) -> str:
            return value_text(value, constraint.metric.unit)

        bound = f"maximum {text(constraint.maximum)}" if too_low else f"minimum {text(constraint.minimum)}"
        raise InfeasibleError(
            f"constraint {constraint.metric.name} {bound} cannot be met: architectures of {space.space_id} have "
            f"{text(feasible.minimum)} to {text(feasible.maximum)}; choose a bound in that range"
        )


class GraphValues:
    """Values of cheap metrics, remembered by canonical genotype: coordinate passes revisit most of them.

    What ships with hilnas is computed together, so that several metrics' ranges build a graph once: that costs most.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._known: dict[Genotype, dict[Metric, float]] = {}

    def value(self, genotype: Genotype, metric: Metric, settings: Any = None) -> float | None:
        """The value of one genotype, whose settings of a metric stay the same; None in a space without graphs."""
        key = self._space.canonical(genotype)
        known = self._known.get(key, {})
        if metric not in known:
            graph = self._space.graph(self._space.decode(key), Form.DEPLOYED)
            if graph is None:
                return None
            known = self._known[key] = known | graph_values(graph, (metric,), {metric.name: settings})
        return known[metric]


def _descend(
    space: SearchSpace, value: Callable[[Genotype], float | None], start: Genotype, goal: Goal
) -> tuple[float, Genotype]:
    sign = 1.0 if goal is Goal.MINIMIZE else -1.0
    best, best_value = start, value(start) or 0.0
    for _ in range(MAX_PASSES):
        before = best_value
        for position, gene in enumerate(space.genes):
            for choice in range(gene.num_choices):
                neighbour = (*best[:position], choice, *best[position + 1 :])
                neighbour_value = value(neighbour)
                if neighbour_value is not None and sign * neighbour_value < sign * best_value:
                    best, best_value = neighbour, neighbour_value
        if best_value == before:
            break
    return best_value, space.canonical(best)
