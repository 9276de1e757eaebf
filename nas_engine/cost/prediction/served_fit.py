"""Fits a predictor that is to be served, and finds out on networks left out how far to believe it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.estimate_quality import kendall_tau
from nas_engine.cost.prediction.encodings import Floats
from nas_engine.cost.prediction.predictor import MetricPredictor
from nas_engine.cost.prediction.regressors import folds
from nas_engine.cost.prediction.served_predictor import ServedPredictor
from nas_engine.domain.errors import EngineError
from nas_engine.domain.metric import Metric
from nas_engine.domain.search_space import Gene

NOMINAL = 0.9
"""Share of new measurements that intervals are made to hold."""

NUM_JUDGING_FOLDS = 10
"""Parts in which networks are left out of everything to judge what is served."""

MIN_SAMPLES = 20
"""Samples below which an interval of 90 % would have to be wider than every error that was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutQuality:
    """How predictors that were made in the same way did on networks that they had not seen.

    Attributes:
        coverage: share of the measured values within their intervals.
        num_left_out: networks, each left out once.
        num_folds: parts they were left out in.
        mean_relative_error: mean of the absolute errors over the measured values.
        median_relative_width: of the intervals over the measured values.
        kendall_tau: of predicted and measured order; None where all are equal.
    """

    coverage: float
    num_left_out: int
    num_folds: int
    mean_relative_error: float
    median_relative_width: float
    kendall_tau: float | None


def fit_served(
    genes: Sequence[Gene],
    metric: Metric,
    genotypes: Sequence[Sequence[int]],
    values: Sequence[float],
    standard_errors: Sequence[float],
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[ServedPredictor, str, LeftOutQuality] | None:
    """Fit a predictor to all samples, and find the margin of its intervals and their coverage on networks left out.

    A tenth of the samples is left out of everything in turn: choice of model and fit. The margin is the error that 90 %
    of them do not exceed; how often it holds is counted for each tenth with the margin of the nine others.

    Args:
        genes: of the space.
        metric: what is predicted.
        genotypes, values, standard_errors: of the samples, distinct architectures.
        stopped: asked between fits; once true, nothing is made.

    Returns:
        The predictor, the family of models that was chosen, and its quality; None where it was stopped.

    Raises:
        EngineError: fewer samples than `MIN_SAMPLES`, or samples that the space does not have.
    """
    if len(values) < MIN_SAMPLES:
        raise EngineError(f"{len(values)} measured architectures: a predictor needs {MIN_SAMPLES}")
    rows = np.random.default_rng(0).permutation(len(values))  # samples that were asked together are spread
    kept = [tuple(genotypes[row]) for row in rows]
    measured, errors = np.asarray(values)[rows], np.asarray(standard_errors)[rows]
    every = np.arange(len(rows))

    def learned(of: NDArray[np.int64]) -> MetricPredictor:
        predictor = MetricPredictor(genes, metric)
        predictor.fit([kept[row] for row in of], measured[of].tolist(), errors[of].tolist())
        return predictor

    predictor = learned(every)
    scale = predictor.scale
    missed, middle = np.empty(len(rows)), np.empty(len(rows))
    parts = folds(len(rows), NUM_JUDGING_FOLDS)
    for fold in parts:
        if stopped():
            return None
        middle[fold] = learned(np.setdiff1d(every, fold)).predict([kept[place] for place in fold]).mean
        missed[fold] = np.abs(scale.forward(middle[fold]) - scale.forward(measured[fold]))
    covered, widths = np.empty(len(rows), dtype=bool), np.empty(len(rows))
    for fold in parts:
        margin = conformal_margin(np.delete(missed, fold))
        covered[fold] = missed[fold] <= margin
        centre = scale.forward(middle[fold])
        widths[fold] = np.abs(scale.backward(centre + margin) - scale.backward(centre - margin))
    quality = LeftOutQuality(
        coverage=float(covered.mean()),
        num_left_out=len(rows),
        num_folds=len(parts),
        mean_relative_error=float(np.mean(np.abs(middle - measured) / measured)),
        median_relative_width=float(np.median(widths / measured)),
        kendall_tau=kendall_tau(middle.tolist(), measured.tolist()),
    )
    return predictor.served(conformal_margin(missed), NOMINAL), predictor.choice.family.value, quality


def conformal_margin(missed: Floats) -> float:
    """The error that a new network exceeds as seldom as it should, for those that were seen (split conformal)."""
    place = min(math.ceil((len(missed) + 1) * NOMINAL), len(missed))
    return float(np.sort(missed)[place - 1])
