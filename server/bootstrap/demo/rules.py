"""What one would ship at a latency without measuring every network: by MACs, and by predictors alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_engine.cost.prediction.choice_costs import choice_costs
from nas_engine.cost.prediction.model_choice import PredictorModel
from nas_engine.cost.prediction.predictor import MetricPredictor
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.metrics import LATENCY_US, TOP1
from nas_engine.domain.search_space import SearchSpace

POOL_SIZE = 4000
"""Genotypes drawn from the space, among which predictors choose."""


@dataclass(frozen=True, slots=True)
class Known:
    """An evaluated and measured candidate.

    Attributes:
        id: of the candidate.
        generation: 0 for the initial sample, which no result has chosen.
    """

    id: str
    genotype: Genotype
    generation: int
    macs: int
    top1: float
    latency_us: float


def picked_by_macs(known: Sequence[Known], bound_us: float) -> Known | None:
    """The most accurate candidate whose MACs say that it keeps the bound.

    MACs become a latency by the straight line through the initial sample: what one has who measured a few networks and
    reckons from there.

    Returns:
        None where the line keeps all of them out, or where MACs of the sample are alike.
    """
    sample = [one for one in known if one.generation == 0]
    if len({one.macs for one in sample}) < 2:
        return None
    slope, offset = np.polyfit([one.macs for one in sample], [one.latency_us for one in sample], 1)
    fitting = [one for one in known if offset + slope * one.macs <= bound_us]
    return max(fitting, key=lambda one: one.top1, default=None)


class PredictedPicks:
    """The network of the whole space that predictors of accuracy and latency like best, measured or not."""

    def __init__(self, space: SearchSpace, known: Sequence[Known]) -> None:
        """Fit both predictors to every result of a search."""
        genotypes = np.asarray([one.genotype for one in known], dtype=np.int64)
        rng = np.random.default_rng(0)
        self._pool = rng.integers([gene.num_choices for gene in space.genes], size=(POOL_SIZE, len(space.genes)))
        costs = choice_costs(space)
        accuracy = MetricPredictor(space.genes, TOP1, PredictorModel.GAUSSIAN_PROCESS, costs)
        accuracy.fit(genotypes, [one.top1 for one in known])
        latency = MetricPredictor(space.genes, LATENCY_US, PredictorModel.GAUSSIAN_PROCESS, costs)
        latency.fit(genotypes, [one.latency_us for one in known])
        self._top1, self._latency_us = accuracy.mean(self._pool), latency.mean(self._pool)

    def within(self, bound_us: float) -> Genotype | None:
        """The most accurate by prediction that keeps the bound by prediction; None where none does."""
        fitting = np.flatnonzero(self._latency_us <= bound_us)
        if not len(fitting):
            return None
        best = fitting[np.argmax(self._top1[fitting])]
        return tuple(int(choice) for choice in self._pool[best])
