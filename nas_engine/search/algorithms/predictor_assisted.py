"""Predictor-assisted search: predictors of the observed metrics say which candidates add most to the front.

The predictors are a function of the archive and of the models that left-out samples chose; the choices are in the
checkpoint, the rest is fitted anew. What was predicted for each candidate when it was asked is kept and compared with
what is observed: `quality` is Kendall's tau on fresh evaluations only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas_engine.cost.estimate_quality import kendall_tau
from nas_engine.cost.prediction.choice_costs import choice_costs
from nas_engine.cost.prediction.model_choice import ModelChoice, PredictorModel
from nas_engine.cost.prediction.predictor import MIN_SAMPLES, MetricPredictor
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from nas_engine.search import state_codec as codec
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.base import BaseSearchAlgorithm
from nas_engine.search.cheap_filter import GraphFilter
from nas_engine.search.pareto import pareto_ranks
from nas_engine.search.predicting.candidate_pool import MAX_WALKED, Judge, WholeSpace, balanced, evolved
from nas_engine.search.predicting.surrogate import MAX_SHORTLIST, Surrogate
from nas_engine.search.survival import constrained_ranks
from nas_engine.settings.algorithms import PredictorAssistedSettings, PredictorKind

QUALITY_WINDOW = 200
"""Fresh evaluations the predictor quality looks back on."""

MAX_LEARNED = 600
"""Results that predictors learn from: fitting costs the cube of their number. Beyond it the better half by rank and an
even sample of the rest are taken."""

CHOOSE_ANEW = 1.6
"""Models are chosen anew when there are this many times as many results as when they were chosen last."""


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
        self._choices: dict[str, ModelChoice] = {}
        self._fitted: tuple[int, Surrogate] | None = None
        self._whole: WholeSpace | None = None
        self._model = PredictorModel.RIDGE if settings.predictor is PredictorKind.RIDGE else PredictorModel.BEST

    @property
    def batch_size(self) -> int:
        """The initial sample until it is told, then the chosen few."""
        left = self._settings.num_initial - len(self.archive)
        return left if left > 0 else self._settings.num_chosen

    @property
    def quality(self) -> Mapping[Metric, PredictorQuality]:
        """Per predicted metric, on evaluations that were predicted before they were made."""
        return {metric: _quality(pairs) for metric, pairs in self._fresh.items()}

    @property
    def remeasures(self) -> bool:
        """What its settings say: the best by a noisy value is often the luckiest."""
        return self._settings.remeasure

    def predictors(self) -> Mapping[Metric, MetricPredictor] | None:
        """What it predicts with, fitted to the results so far; None while there is too little to learn."""
        surrogate = self._surrogate() if len(self.ledger.asked) > self._settings.num_initial else None
        return None if surrogate is None else surrogate.predictors

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
        for name, choice in self._choices.items():
            entry = metrics.get(name)
            if isinstance(entry, dict):
                entry["model"] = f"{choice.family.value}, encoding {choice.encoding.value}"
        return {"predictors": metrics} if metrics else {}

    def _propose(self, num: int) -> list[Genotype]:
        if len(self.ledger.asked) < self._settings.num_initial:
            drawn = balanced(self.encoding, num, self._rng)
            batch = self.ledger.admit_all(drawn, num)
            return batch + self.ledger.immigrants(num - len(batch), self._rng)
        surrogate = self._surrogate()
        if surrogate is None:
            return self.ledger.immigrants(num, self._rng)
        # Another ask since the last result may have widened it: a resumed search starts from here too.
        surrogate.widen(np.zeros((0, len(self.problem.objectives))))
        if self.encoding.space.size <= MAX_WALKED and self._filter_is_instant:
            self._whole = self._whole or WholeSpace(self.ledger)
            pool = self._whole.left(self.ledger)
        else:
            judge = Judge(surrogate.judge, surrogate.widen, surrogate.niches, self._filter_is_instant)
            rounds, children = self._settings.inner_generations, self._settings.inner_population
            feasible = self.archive.feasible() or self.archive.results
            # The front, then the other results by rank.
            order = np.argsort(pareto_ranks(self.archive.points(feasible)), kind="stable")
            parents = [feasible[place].genotype for place in order]
            pool = evolved(self.ledger, parents, judge, rounds, children, self._rng)
        batch = []
        if len(pool):
            surrogate.widen(surrogate.judge(pool)[1])
            gains, _ = surrogate.judge(pool)
            under_way = np.asarray(self.pending, dtype=np.int64).reshape(-1, pool.shape[1])
            wanted = num if self._filter_is_instant else MAX_SHORTLIST
            chosen = surrogate.chosen(pool, gains, wanted, under_way)
            batch = self.ledger.admit_all([self.encoding.canonical(pool[place].tolist()) for place, _ in chosen], num)
            rows = np.asarray(batch, dtype=np.int64).reshape(-1, pool.shape[1])
            for genotype, values in zip(batch, surrogate.predicted(rows), strict=True):
                self._predicted[genotype] = values
        return batch + self.ledger.immigrants(num - len(batch), self._rng)

    @property
    def _filter_is_instant(self) -> bool:
        """Whether the cheap filter may be asked of thousands: a layer graph takes a millisecond, a table none."""
        return not isinstance(self.problem.cheap_filter, GraphFilter)

    def _surrogate(self) -> Surrogate | None:
        """The world as predicted from the results so far; None while there is too little to learn."""
        if self._fitted is not None and self._fitted[0] == self.archive.version:
            return self._fitted[1]
        wanted = self.problem.observed_metrics
        complete = [o for o in self.archive.results if all(metric in o.objectives for metric in wanted)]
        results = self._learned_from(complete)
        if len(results) < MIN_SAMPLES:
            return None
        known = self.problem.cheap_filter(results[0].genotype).values if self._filter_is_instant else {}
        genotypes = np.asarray([observation.genotype for observation in results], dtype=np.int64)
        costs = choice_costs(self.problem.space)
        predictors = {}
        for metric in wanted:
            if metric not in known:
                predictor = MetricPredictor(self.problem.space.genes, metric, self._model, costs)
                earlier = self._choices.get(metric.name)
                is_current = earlier is not None and len(results) < CHOOSE_ANEW * earlier.num_samples
                predictor.fit(
                    genotypes,
                    [observation.objectives[metric] for observation in results],
                    [float(observation.uncertainty.get(metric, 0.0)) for observation in results],
                    choice=earlier if is_current else None,
                    near=earlier,
                )
                self._choices[metric.name] = predictor.choice
                predictors[metric] = predictor
        surrogate = Surrogate(self.problem, self.archive, results, predictors, self._settings.exploration)
        self._fitted = (self.archive.version, surrogate)
        return surrogate

    def _learned_from(self, results: Sequence[Observation]) -> list[Observation]:
        """At most `MAX_LEARNED` results, in the order told: the best by rank, and some of all the others."""
        if len(results) <= MAX_LEARNED:
            return list(results)
        points = self.archive.points(results)
        violations = np.asarray([self.problem.violation(observation) for observation in results])
        order = np.argsort(constrained_ranks(points, violations), kind="stable")
        best, others = order[: MAX_LEARNED // 2], np.sort(order[MAX_LEARNED // 2 :])
        even = np.linspace(0, len(others) - 1, MAX_LEARNED - len(best)).round().astype(np.int64)
        return [results[place] for place in np.union1d(best, others[even])]

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
            "models": {metric: choice.document() for metric, choice in self._choices.items()},
        }

    def _load_own_state(self, state: Mapping[str, JsonValue]) -> None:
        self._fitted = None
        metrics = self.problem.observed_metrics
        # Absent from checkpoints of earlier versions, which chose nothing.
        chosen = codec.as_mapping(state.get("models", {}), "models")
        self._choices = {metric: ModelChoice.of(document) for metric, document in chosen.items()}
        self._predicted = {}
        for item in codec.as_sequence(codec.field_of(state, "predicted"), "predicted"):
            entry = codec.as_mapping(item, "prediction")
            genotype = codec.decode_genotype(codec.field_of(entry, "genotype"), self.encoding.num_choices)
            values = codec.field_of(entry, "values")
            self._predicted[genotype] = codec.decode_metrics(values, "predicted values", metrics)
        self._fresh = {}
        for label, pairs in codec.as_mapping(codec.field_of(state, "fresh"), "fresh").items():
            self._fresh[codec.decode_metric(label, metrics)] = [
                codec.decode_pair(pair, f"fresh {label}") for pair in codec.as_sequence(pairs, "fresh pairs")
            ]


def _quality(pairs: Sequence[tuple[float, float]]) -> PredictorQuality:
    predicted, actual = [p for p, _ in pairs], [a for _, a in pairs]
    error = float(np.abs(np.subtract(predicted, actual)).mean()) if pairs else None
    return PredictorQuality(kendall_tau(predicted, actual), error, len(pairs))
