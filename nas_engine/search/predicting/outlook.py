"""What further candidates are worth: what each asked one is expected to add, and what the last ones did add.

Everything is a share of the hypervolume that the search has reached, against its own reference point. It is a function
of what was told (and, for a search that predicts, of its predictors), so that a resumed search says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas_engine.cost.prediction.choice_costs import choice_costs
from nas_engine.cost.prediction.encodings import Floats
from nas_engine.cost.prediction.model_choice import PredictorModel
from nas_engine.cost.prediction.predictor import MetricPredictor
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.metric import Metric
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.pareto import HypervolumeReference, non_dominated
from nas_engine.search.predicting.expected_gain import expected_gains
from nas_engine.search.predicting.surrogate import probability_met

MIN_TOLD = 10
"""Results from which gains are predicted."""

MAX_LEARNED = 100
"""Results that the predictors of a search without its own learn from: its front, then the newest. Bounds the time."""

MAX_AHEAD = 0.5
"""Largest part of the frame by which a predicted mean lies before the best result."""

MARGIN = 0.1
"""Part of each objective's span by which a reference point that is not given lies beyond the worst result."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a batch of asked candidates is expected to add.

    Attributes:
        gains: expected hypervolume that each adds beside those before it, as a share of what is reached; None where
            nothing can be said.
        unknown_because: why nothing can be said; empty where something is.
    """

    gains: tuple[float, ...] | None
    unknown_because: str = ""


class Outlook:
    """The results of a search as far as predictors believe them, and what candidates add to them."""

    def __init__(
        self,
        problem: SearchProblem,
        results: Sequence[Observation],
        *,
        predictors: Mapping[Metric, MetricPredictor] | None = None,
        reference_point: Sequence[float] | None = None,
    ) -> None:
        """See class.

        Args:
            problem: what is searched.
            results: everything told, in the order told.
            predictors: the search's own, of every observed metric that the cheap filter does not know; None fits light
                ones.
            reference_point: of the hypervolume, in the objectives' own units; None lies beyond the worst result.
        """
        self._problem = problem
        self._predictors: Mapping[Metric, MetricPredictor] = {}
        wanted = problem.observed_metrics
        self._known = [o for o in results if not o.violations and all(metric in o.objectives for metric in wanted)]
        self.unknown_because = ""
        if len(self._known) < MIN_TOLD:
            self.unknown_because = f"{len(self._known)} results are known, gains are predicted from {MIN_TOLD}"
            return
        learned = self._known
        if predictors is None:
            learned = _learned_from(problem, self._known)
            try:
                predictors = _light_predictors(problem, learned)
            except (EngineError, np.linalg.LinAlgError) as error:
                # What nothing but this report needs must not end a search.
                self.unknown_because = f"no predictor can be fitted: {error}"
                return
        self._predictors = predictors
        believed = _believed(learned, predictors)
        self._trusted = [believed.get(o.genotype, o) for o in self._known]
        self._feasible = np.asarray([problem.violation(o) == 0.0 for o in self._trusted])
        self._points = np.asarray([problem.minimized(o) for o in self._trusted], dtype=np.float64)
        if not self._feasible.any():
            self.unknown_because = "no candidate that meets the constraints is known"
            return
        self._frame = self._framed(reference_point)
        self._reached = self._hypervolume(len(self._known))
        if not self._reached > 0.0:
            self.unknown_because = "no candidate lies within the reference point"

    def _framed(self, reference_point: Sequence[float] | None) -> HypervolumeReference:
        feasible = self._points[self._feasible]
        span = np.maximum(feasible.max(axis=0) - feasible.min(axis=0), 0.0)
        corner = feasible.max(axis=0) + MARGIN * np.where(span > 0.0, span, 1.0)
        if reference_point is not None:
            turned = [o.minimized(v) for o, v in zip(self._problem.objectives, reference_point, strict=True)]
            corner = np.asarray(turned, dtype=np.float64)
        ideal = np.minimum(feasible.min(axis=0), corner - np.maximum(np.abs(corner), 1.0) * 1e-9)
        return HypervolumeReference(tuple(ideal.tolist()), tuple(corner.tolist()), 0.0)

    def _hypervolume(self, num: int) -> float:
        """Of the first `num` results."""
        return self._frame.hypervolume(self._points[:num][self._feasible[:num]])

    def last_share(self, num: int) -> float | None:
        """Share of the hypervolume reached that the last `num` results added; None where that is not known."""
        if self.unknown_because or num >= len(self._known):
            return None
        return max(0.0, 1.0 - self._hypervolume(len(self._known) - num) / self._reached)

    def next_share(self, forecast: Forecast, num: int, expected: Mapping[Genotype, float]) -> float | None:
        """Share that `num` candidates like those of a forecast add; None where nothing can be said.

        Expectations are held against what came: each candidate of a dense front may add a little, which few of them
        do, so that their sum is too high. The forecast is scaled by what the last `num` added of what they promised.

        Args:
            forecast: of the candidates asked next; later ones add less.
            num: candidates over which it is added up.
            expected: what candidates were expected to add when they were asked.
        """
        if not forecast.gains:
            return None
        following = num * sum(forecast.gains) / len(forecast.gains)
        last = [o.genotype for o in self._known[-num:]]
        promised = sum(expected.get(genotype, 0.0) for genotype in last)
        added = self.last_share(num)
        if added is None or promised <= 0.0 or any(genotype not in expected for genotype in last):
            return following
        return following * added / promised

    def forecast(self, candidates: Sequence[Genotype], under_way: Sequence[Genotype] = ()) -> Forecast:
        """Predict what each candidate adds beside those before it.

        Args:
            candidates: in the order asked.
            under_way: candidates asked before them and not told yet, which are taken to come out as predicted.
        """
        if self.unknown_because:
            return Forecast(None, self.unknown_because)
        rows = [*under_way, *candidates]
        if not rows:
            return Forecast(())
        points, errors, likely = self._predicted(rows)
        front = self._frame.scaled(self._points[self._feasible])
        front = front[non_dominated(front)]
        gains = []
        for i in range(len(rows)):
            gain = float(likely[i] * expected_gains(points[i : i + 1], errors[i : i + 1], front, 1.0)[0])
            gains.append(max(gain, 0.0) / self._reached)
            if likely[i] > 0.5:
                front = np.vstack([front, points[i]])
                front = front[non_dominated(front)]
        return Forecast(tuple(gains[len(under_way) :]))

    def _predicted(self, genotypes: Sequence[Genotype]) -> tuple[Floats, Floats, Floats]:
        """Minimised objectives in units of the frame, their standard deviations, and the chance to be feasible."""
        found = {metric: predictor.predict(genotypes) for metric, predictor in self._predictors.items()}
        means = {metric: prediction.mean for metric, prediction in found.items()}
        if cheap := [metric for metric in self._problem.observed_metrics if metric not in found]:
            checks = [self._problem.cheap_filter(genotype).values for genotype in genotypes]
            means |= {metric: np.asarray([values[metric] for values in checks]) for metric in cheap}
        unit = np.asarray(self._frame.nadir) - np.asarray(self._frame.ideal)
        errors = np.zeros((len(genotypes), len(unit)))
        points = np.zeros_like(errors)
        for place, objective in enumerate(self._problem.objectives):
            points[:, place] = [objective.minimized(float(value)) for value in means[objective.metric]]
            if objective.metric in found:
                errors[:, place] = found[objective.metric].standard_deviation / unit[place]
                # The scale that a metric is learned on draws its bad values together: far out in them deviations are
                # long to the worse side only, and would be taken for a chance to be best.
                # Half the way from the median to the best result is the deviation, were it normal.
                column = self._frame.scaled(self._points)[:, place]
                errors[:, place] = np.minimum(errors[:, place], float(np.median(column) - column.min()) / 2.0)
        likely = np.ones(len(genotypes))
        for constraint in self._problem.constraints:
            prediction = found.get(constraint.metric)
            deviation = None if prediction is None else prediction.standard_deviation
            likely = likely * probability_met(constraint, means[constraint.metric], deviation)
        return np.maximum(self._frame.scaled(points), -MAX_AHEAD), errors, likely


def _learned_from(problem: SearchProblem, results: Sequence[Observation]) -> list[Observation]:
    """The front and the newest results, in the order told."""
    if len(results) <= MAX_LEARNED:
        return list(results)
    feasible = [i for i, o in enumerate(results) if problem.violation(o) == 0.0]
    kept: set[int] = set()
    if feasible:
        points = np.asarray([problem.minimized(results[i]) for i in feasible])
        kept = {feasible[i] for i in np.flatnonzero(non_dominated(points))[-MAX_LEARNED // 2 :]}
    for i in reversed(range(len(results))):
        if len(kept) >= MAX_LEARNED:
            break
        kept.add(i)
    return [results[i] for i in sorted(kept)]


def _light_predictors(problem: SearchProblem, results: Sequence[Observation]) -> dict[Metric, MetricPredictor]:
    """Gaussian processes of what the cheap filter does not know; trees are not tried."""
    known = problem.cheap_filter(results[0].genotype).values
    costs = choice_costs(problem.space)
    predictors = {}
    for metric in problem.observed_metrics:
        if metric not in known:
            predictors[metric] = MetricPredictor(problem.space.genes, metric, PredictorModel.GAUSSIAN_PROCESS, costs)
            predictors[metric].fit(
                [o.genotype for o in results],
                [o.objectives[metric] for o in results],
                [float(o.uncertainty.get(metric, 0.0)) for o in results],
            )
    return predictors


def _believed(
    results: Sequence[Observation], predictors: Mapping[Metric, MetricPredictor]
) -> dict[Genotype, Observation]:
    """Results whose noisy values are weighed against what the others say of them."""
    values = {
        metric: predictor.believed()
        for metric, predictor in predictors.items()
        if predictor.num_samples == len(results) and any(o.uncertainty.get(metric) for o in results)
    }
    return {
        o.genotype: replace(o, objectives={**o.objectives, **{m: float(column[i]) for m, column in values.items()}})
        for i, o in enumerate(results)
    }
