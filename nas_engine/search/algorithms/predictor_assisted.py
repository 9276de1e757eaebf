"""Predictor-assisted search: surrogates of the told metrics, an inner NSGA-II on them, the chosen few for real.

The predictors are a function of the archive alone and are fitted anew whenever it changes, so a checkpoint holds none
of their state. What was predicted for each candidate when it was asked is kept and compared with what is told:
`quality` is Kendall's tau on fresh evaluations only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.predictor import MIN_SAMPLES, MetricPredictor, PredictorModel
from nas_engine.cost.rank_correlation import kendall_tau
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.dominance import Dominance
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from nas_engine.search import state_codec as codec
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.algorithms.nsga2 import Nsga2
from nas_engine.search.base import BaseSearchAlgorithm
from nas_engine.search.pareto import Floats, HypervolumeReference, pareto_ranks
from nas_engine.settings.algorithms import Nsga2Settings, PredictorAssistedSettings, PredictorKind

QUALITY_WINDOW = 200
"""Fresh evaluations the predictor quality looks back on."""

MAX_SHORTLIST = 150
"""Predicted-best genotypes among which the batch is chosen."""

_MODELS = {
    PredictorKind.RIDGE: PredictorModel.RIDGE,
    PredictorKind.GAUSSIAN_PROCESS: PredictorModel.GAUSSIAN_PROCESS,
}


@dataclass(frozen=True, slots=True)
class PredictorQuality:
    """How well one metric was predicted before it was known.

    Attributes:
        kendall_tau: over the recent fresh evaluations; None for fewer than two. They are candidates the search chose,
            close to the front and alike, so this is lower than over random architectures.
        mean_absolute_error: in the metric's unit; None without fresh evaluations.
        num_fresh: evaluations compared.
    """

    kendall_tau: float | None
    mean_absolute_error: float | None
    num_fresh: int


class PredictorAssistedSearch(BaseSearchAlgorithm):
    """Learns from few evaluations which ones to spend next."""

    def __init__(self, problem: SearchProblem, settings: PredictorAssistedSettings, seed: int) -> None:
        super().__init__(problem, settings.identity(), seed)
        self._settings = settings
        self._predicted: dict[Genotype, Mapping[Metric, float]] = {}
        self._fresh: dict[Metric, list[tuple[float, float]]] = {}
        self._fitted: tuple[int, dict[Metric, MetricPredictor]] | None = None

    @property
    def batch_size(self) -> int:
        """The initial sample until it is told, then the chosen few."""
        left = self._settings.num_initial - len(self.archive)
        return left if left > 0 else self._settings.num_chosen

    @property
    def quality(self) -> Mapping[Metric, PredictorQuality]:
        """Per predicted metric, on evaluations that were predicted before they were made."""
        return {metric: _quality(pairs) for metric, pairs in self._fresh.items()}

    def report(self) -> Mapping[str, JsonValue]:
        """How well candidates were predicted before they were evaluated; nothing before the first of them."""
        metrics: dict[str, JsonValue] = {
            metric.name: {
                "kendall_tau": quality.kendall_tau,
                "mean_absolute_error": quality.mean_absolute_error,
                "num_fresh": quality.num_fresh,
            }
            for metric, quality in self.quality.items()
        }
        return {"predictors": metrics} if metrics else {}

    def _propose(self, num: int) -> list[Genotype]:
        predictors = self._predictors() if len(self.ledger.asked) >= self._settings.num_initial else None
        if predictors is None:
            return self.ledger.immigrants(num, self._rng)
        surrogate = _Surrogate(self.problem, predictors)
        pool = [genotype for genotype in self._inner_search(surrogate) if self.ledger.is_new(genotype)]
        batch = self.ledger.admit_all(self._choose(pool, surrogate, num), num)
        batch += self.ledger.immigrants(num - len(batch), self._rng)
        for genotype, values in zip(batch, surrogate.predicted_only(batch), strict=True):
            self._predicted[genotype] = values
        return batch

    def _predictors(self) -> dict[Metric, MetricPredictor] | None:
        """A predictor per told metric the cheap filter does not know; None while there is too little to learn."""
        if self._fitted is not None and self._fitted[0] == self.archive.version:
            return self._fitted[1]
        results = [
            observation
            for observation in self.archive.results
            if all(m in observation.objectives for m in self.problem.observed_metrics)
        ]
        if len(results) < MIN_SAMPLES:
            return None
        known = self.problem.cheap_filter(results[0].genotype).values
        genotypes = [observation.genotype for observation in results]
        predictors = {}
        for metric in self.problem.observed_metrics:
            if metric not in known:
                predictors[metric] = MetricPredictor(
                    self.problem.space.genes, metric, _MODELS[self._settings.predictor]
                )
                errors = [float(observation.uncertainty.get(metric, 0.0)) for observation in results]
                predictors[metric].fit(genotypes, [observation.objectives[metric] for observation in results], errors)
        self._fitted = (self.archive.version, predictors)
        return predictors

    def _inner_search(self, surrogate: _Surrogate) -> list[Genotype]:
        """Genotypes an NSGA-II on the predicted means visits, starting from the best told so far."""
        settings = Nsga2Settings(population_size=self._settings.inner_population)
        problem = replace(self.problem, dominance=Dominance.POINT)
        inner = Nsga2(problem, settings, int(self._rng.integers(2**63)))
        inner.enqueue([observation.genotype for observation in self.front()][: self._settings.inner_population // 2])
        for _ in range(self._settings.inner_generations):
            batch = inner.ask(inner.batch_size)
            if not batch:
                break
            inner.tell(surrogate.observe(batch))
        return [observation.genotype for observation in inner.results]

    def _choose(self, pool: Sequence[Genotype], surrogate: _Surrogate, num: int) -> list[Genotype]:
        """Greedily the genotypes that add most hypervolume to the told front, judged optimistically."""
        if not pool:
            return []
        points, violations = surrogate.optimistic(pool, self._settings.exploration)
        admissible = np.flatnonzero(violations == violations.min())
        order = admissible[np.argsort(pareto_ranks(points[admissible]), kind="stable")][:MAX_SHORTLIST]
        feasible = self.archive.points(self.archive.feasible())
        frame = HypervolumeReference.spanning(np.vstack([feasible, points[order]]))
        front = self.archive.points(self.front())
        chosen: list[int] = []
        gains = np.full(len(order), np.inf)
        total = frame.hypervolume(front)
        for _ in range(min(num, len(order))):
            best = _largest_gain(front, points[order], gains, frame, total)
            if best is None:
                break
            gains[best] = -np.inf
            chosen.append(int(order[best]))
            front = np.vstack([front, points[order[best]]])
            total = frame.hypervolume(front)
        rest = [int(i) for i in order if int(i) not in set(chosen)]
        return [pool[i] for i in chosen + rest]

    def _absorb(self, results: Sequence[Observation]) -> None:
        if len(self.archive) >= self._settings.num_initial:
            self._generation += 1
        for observation in results:
            for metric, predicted in self._predicted.pop(observation.genotype, {}).items():
                if metric in observation.objectives:
                    pairs = self._fresh.setdefault(metric, [])
                    pairs.append((predicted, observation.objectives[metric]))
                    del pairs[:-QUALITY_WINDOW]

    def _own_state(self) -> Mapping[str, JsonValue]:
        return {
            "predicted": [
                {"genotype": list(genotype), "values": {metric.name: value for metric, value in values.items()}}
                for genotype, values in self._predicted.items()
            ],
            "fresh": {metric.name: [list(pair) for pair in pairs] for metric, pairs in self._fresh.items()},
        }

    def _load_own_state(self, state: Mapping[str, JsonValue]) -> None:
        self._fitted = None
        self._predicted = {}
        for item in codec.as_sequence(codec.field_of(state, "predicted"), "predicted"):
            entry = codec.as_mapping(item, "prediction")
            genotype = codec.decode_genotype(codec.field_of(entry, "genotype"), self.encoding.num_choices)
            self._predicted[genotype] = codec.decode_metrics(codec.field_of(entry, "values"), "predicted values")
        self._fresh = {}
        for label, pairs in codec.as_mapping(codec.field_of(state, "fresh"), "fresh").items():
            self._fresh[codec.decode_metric(label)] = [
                codec.decode_pair(pair, f"fresh {label}") for pair in codec.as_sequence(pairs, "fresh pairs")
            ]


class _Surrogate:
    """The predicted world: cheap metrics exact, the others from their predictors."""

    def __init__(self, problem: SearchProblem, predictors: Mapping[Metric, MetricPredictor]) -> None:
        self._problem = problem
        self._predictors = predictors

    def observe(self, genotypes: Sequence[Genotype]) -> list[Observation]:
        """Predicted means as results, with standard deviations as their uncertainty."""
        columns = {metric: predictor.predict(genotypes) for metric, predictor in self._predictors.items()}
        results = []
        for i, genotype in enumerate(genotypes):
            known = self._problem.cheap_filter(genotype).values
            values = {m: known[m] for m in self._problem.observed_metrics if m in known}
            values |= {metric: float(column.mean[i]) for metric, column in columns.items()}
            errors = {metric: float(column.standard_deviation[i]) for metric, column in columns.items()}
            results.append(Observation(genotype=genotype, objectives=values, uncertainty=errors))
        return results

    def predicted_only(self, genotypes: Sequence[Genotype]) -> list[dict[Metric, float]]:
        """Predicted means of the metrics that have a predictor."""
        columns = {metric: predictor.predict(genotypes).mean for metric, predictor in self._predictors.items()}
        return [{metric: float(mean[i]) for metric, mean in columns.items()} for i in range(len(genotypes))]

    def optimistic(self, genotypes: Sequence[Genotype], exploration: float) -> tuple[Floats, NDArray[np.float64]]:
        """Minimised objectives less `exploration` standard deviations, and the violations of the predicted means."""
        results = self.observe(genotypes)
        points = np.asarray([self._problem.minimized(observation) for observation in results])
        errors = np.asarray([self._problem.standard_errors(observation) for observation in results])
        return points - exploration * errors, np.asarray(
            [self._problem.violation(observation) for observation in results]
        )


def _largest_gain(
    front: Floats, points: Floats, gains: Floats, frame: HypervolumeReference, total: float
) -> int | None:
    """The point that adds most hypervolume; `gains` holds earlier gains, which can only shrink (submodularity)."""
    for _ in range(len(points) * 2):
        best = int(np.argmax(gains))
        if not gains[best] > 0.0:
            return None
        fresh = frame.hypervolume(np.vstack([front, points[best]])) - total
        gains[best] = max(fresh, 0.0)
        if int(np.argmax(gains)) == best and gains[best] > 0.0:
            return best
    return None


def _quality(pairs: Sequence[tuple[float, float]]) -> PredictorQuality:
    predicted, actual = [p for p, _ in pairs], [a for _, a in pairs]
    error = float(np.abs(np.subtract(predicted, actual)).mean()) if pairs else None
    return PredictorQuality(kendall_tau(predicted, actual), error, len(pairs))
