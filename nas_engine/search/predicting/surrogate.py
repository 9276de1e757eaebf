"""The world as predicted: objectives and constraints of candidates nobody evaluated, and what they would add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nas_engine.cost.prediction.encodings import Floats, Genotypes
from nas_engine.cost.prediction.predictor import MetricPredictor
from nas_engine.domain.metric import Goal, Metric
from nas_engine.domain.objective import Constraint
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.archive import EvaluatedArchive
from nas_engine.search.pareto import HypervolumeReference, non_dominated
from nas_engine.search.predicting.candidate_pool import spread
from nas_engine.search.predicting.expected_gain import expected_gains

MAX_SHORTLIST = 250
"""Candidates among which a batch is chosen one after the other."""

REFERENCE = 1.1
"""Coordinate of the reference point, where the evaluated candidates and the predicted front span 0 to 1."""

MAX_WIDENING = 1.0
"""Largest part by which the predicted front widens the frame on a side, in units of what was evaluated."""

_NEVER = 1e-9


class Surrogate:
    """Cheap metrics exact, the others from their predictors; compared with what is known so far."""

    def __init__(
        self,
        problem: SearchProblem,
        archive: EvaluatedArchive,
        learned_from: Sequence[Observation],
        predictors: Mapping[Metric, MetricPredictor],
        exploration: float,
    ) -> None:
        """See class.

        Args:
            problem: what is searched.
            archive: every result.
            learned_from: the results that the predictors learned from, in their order.
            predictors: of the metrics that the cheap filter does not know.
            exploration: factor of the predicted standard deviations.
        """
        self._problem, self._predictors, self._exploration = problem, predictors, exploration
        believed = {metric: predictor.believed() for metric, predictor in predictors.items()}
        values = [
            {**observation.objectives, **{metric: float(column[i]) for metric, column in believed.items()}}
            for i, observation in enumerate(learned_from)
        ]
        trusted = [
            Observation(genotype=o.genotype, objectives=row, violations=o.violations)
            for o, row in zip(learned_from, values, strict=True)
        ]
        feasible = [o for o in trusted if problem.violation(o) == 0.0]
        self._points = archive.points(feasible or trusted)
        self._has_feasible = bool(feasible)
        self._last: tuple[Genotypes, dict[Metric, Floats], dict[Metric, Floats]] | None = None
        self._frame = self._observed = HypervolumeReference.spanning(self._points)

    @property
    def predictors(self) -> Mapping[Metric, MetricPredictor]:
        """Of the metrics that the cheap filter does not know."""
        return self._predictors

    @property
    def _front(self) -> Floats:
        """Feasible points that none dominates, in units of the frame."""
        points = self._points[non_dominated(self._points)] if self._has_feasible else self._points[:0]
        return self._frame.scaled(points)

    def widen(self, points: Floats) -> None:
        """Widen the frame over the predicted front of `points`: ends of the front lie beyond what was evaluated.

        Args:
            points: predicted objectives, minimised; none for the frame of what was evaluated alone.
        """
        if not len(points):
            self._frame = self._observed
            return
        scaled = np.clip(self._observed.scaled(points[non_dominated(points)]), -MAX_WIDENING, 1.0 + MAX_WIDENING)
        low, high = np.asarray(self._observed.ideal), np.asarray(self._observed.nadir)
        ends = np.vstack([self._points, low + scaled * (high - low)])
        self._frame = HypervolumeReference.spanning(ends)

    def judge(self, genotypes: Genotypes) -> tuple[Floats, Floats]:
        """Expected gain per genotype, roughly, and its predicted objectives, minimised."""
        if self._last is None or self._last[0] is not genotypes:
            rough = {metric: predictor.rough(genotypes) for metric, predictor in self._predictors.items()}
            means = {metric: found.mean for metric, found in rough.items()} | self._known(genotypes)
            deviations = {metric: found.standard_deviation for metric, found in rough.items()}
            self._last = genotypes, means, deviations
        _, means, deviations = self._last
        points, errors = self._scaled(means, deviations)
        low, high = np.asarray(self._frame.ideal), np.asarray(self._frame.nadir)
        return self._gains(points, errors, means, deviations, self._front), low + points * (high - low)

    def niches(self, points: Floats) -> NDArray[np.int64]:
        """Place of the front's member that is nearest to each point; 0 for all where nothing feasible is known.

        Args:
            points: predicted objectives, minimised.
        """
        front = self._front
        if not len(front) or not len(points):
            return np.zeros(len(points), dtype=np.int64)
        scaled = self._frame.scaled(points)
        distance = (front**2).sum(axis=1) - 2.0 * scaled @ front.T
        nearest: NDArray[np.int64] = distance.argmin(axis=1)
        return nearest

    def chosen(self, genotypes: Genotypes, gains: Floats, num: int, under_way: Genotypes) -> list[tuple[int, float]]:
        """Places of up to `num` genotypes, each with the gain that is expected of it beside those before it.

        One after the other: each is then taken to come out as predicted, which leaves the others less to add and
        less to find out.

        Args:
            genotypes: what is left to evaluate.
            gains: rough ones.
            num: largest number of places.
            under_way: genotypes that are being evaluated.
        """
        largest = np.argsort(-gains, kind="stable")[: MAX_SHORTLIST // 2]
        over_front = spread(gains, self.niches(self.judge(genotypes)[1]), MAX_SHORTLIST // 2)
        short = np.union1d(largest, over_front)
        rows = np.vstack([under_way, genotypes[short]])
        means, covariances = self._known(rows), {}
        for metric, predictor in self._predictors.items():
            means[metric], covariances[metric] = predictor.joint(rows)
        front, free = self._front, np.arange(len(rows)) >= len(under_way)
        chosen: list[tuple[int, float]] = []
        for turn in range(len(under_way) + min(num, len(short))):
            deviations = {m: np.sqrt(np.maximum(np.diag(c), 0.0)) for m, c in covariances.items()}
            points, errors = self._scaled(means, deviations)
            if turn < len(under_way):
                best = turn
            else:
                exact = np.where(free, self._gains(points, errors, means, deviations, front), -np.inf)
                best = int(np.argmax(exact))
                chosen.append((int(short[best - len(under_way)]), max(float(exact[best]), 0.0)))
                free[best] = False
            if self._is_feasible(means, deviations)[best] > 0.5:
                front = np.vstack([front, points[best]])
                front = front[non_dominated(front)]
            for metric, covariance in covariances.items():
                if covariance[best, best] > 0.0:
                    column = covariance[:, best].copy()
                    covariances[metric] = covariance - np.outer(column, column / column[best])
        return chosen

    def predicted(self, genotypes: Genotypes) -> list[dict[Metric, float]]:
        """Predicted means of the metrics that have a predictor."""
        columns = {metric: predictor.mean(genotypes) for metric, predictor in self._predictors.items()}
        return [{metric: float(mean[i]) for metric, mean in columns.items()} for i in range(len(genotypes))]

    def _known(self, genotypes: Genotypes) -> dict[Metric, Floats]:
        """Cheap metrics that are observed."""
        wanted = [metric for metric in self._problem.observed_metrics if metric not in self._predictors]
        if not wanted:
            return {}
        rows = [self._problem.cheap_filter(tuple(genotype)).values for genotype in genotypes.tolist()]
        return {metric: np.asarray([row[metric] for row in rows], dtype=np.float64) for metric in wanted}

    def _scaled(self, means: Mapping[Metric, Floats], deviations: Mapping[Metric, Floats]) -> tuple[Floats, Floats]:
        """Minimised objectives and their standard deviations in units of the frame."""
        points, errors = [], []
        for place, objective in enumerate(self._problem.objectives):
            low, high = self._frame.ideal[place], self._frame.nadir[place]
            values = means[objective.metric]
            sign = -1.0 if objective.goal is Goal.MAXIMIZE else 1.0
            points.append((sign * values - low) / (high - low))
            deviation = deviations.get(objective.metric)
            errors.append(np.zeros(len(values)) if deviation is None else deviation / (high - low))
        return np.stack(points, axis=1), self._exploration * np.stack(errors, axis=1)

    def _gains(
        self,
        points: Floats,
        errors: Floats,
        means: Mapping[Metric, Floats],
        deviations: Mapping[Metric, Floats],
        front: Floats,
    ) -> Floats:
        likely = self._is_feasible(means, deviations)
        if len(front) == 0 and self._problem.constraints:
            # Nothing feasible is known: getting there comes first.
            return likely + _NEVER * expected_gains(points, errors, front, REFERENCE)
        return likely * expected_gains(points, errors, front, REFERENCE)

    def _is_feasible(self, means: Mapping[Metric, Floats], deviations: Mapping[Metric, Floats]) -> Floats:
        """Probability that every constraint is met."""
        likely: Floats = np.ones(len(next(iter(means.values()))))
        for constraint in self._problem.constraints:
            likely = likely * probability_met(constraint, means[constraint.metric], deviations.get(constraint.metric))
        return likely


def probability_met(constraint: Constraint, mean: Floats, deviation: NDArray[np.float64] | None) -> Floats:
    """Probability that a constraint is met, per normal prediction; without deviations the means are exact."""
    spread = np.maximum(np.abs(mean) * _NEVER, _NEVER) if deviation is None else np.maximum(deviation, _NEVER)
    likely: Floats = np.ones(len(mean))
    if constraint.maximum is not None:
        likely = likely * ndtr((constraint.maximum - mean) / spread)
    if constraint.minimum is not None:
        likely = likely * ndtr((mean - constraint.minimum) / spread)
    return likely
