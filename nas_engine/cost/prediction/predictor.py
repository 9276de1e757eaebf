"""Predictors of a metric (latency, accuracy) from the genotype, learned from few evaluations, with uncertainty.

A prediction is an estimate and never stands where a measurement is asked for. Which family of models and which
encoding of the genotypes predict best is found by leaving samples out; the left-out errors are what the intervals are
made of, so that they hold as often as they say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.prediction.choice_costs import ChoiceCosts
from nas_engine.cost.prediction.encodings import Floats, Genotypes
from nas_engine.cost.prediction.model_choice import (
    ModelChoice,
    PredictorModel,
    Samples,
    choose_model,
    make_model,
    numbers_in,
)
from nas_engine.cost.prediction.regressors import GaussianProcess, Trees, folds
from nas_engine.cost.prediction.served_predictor import ServedPredictor
from nas_engine.cost.prediction.target_scale import TargetScale
from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import metric_named
from nas_engine.domain.search_space import Gene, validate_genotype

STATE_VERSION = 2
MIN_SAMPLES = 3

NUM_INTERVAL_FOLDS = 16
"""Parts in which samples are left out for intervals: models that lack a quarter of them err more than the one that
lacks none, and intervals of their errors hold too often."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predictions for a batch, in the metric's unit.

    Attributes:
        mean: expected value per genotype.
        standard_deviation: of the true value around it: what the data leave open and what the model cannot express;
            told measurement errors are not part of it.
    """

    mean: Floats
    standard_deviation: Floats


class MetricPredictor:
    """Predicts one metric over the genotypes of one encoding."""

    def __init__(
        self,
        genes: Sequence[Gene],
        metric: Metric,
        model: PredictorModel = PredictorModel.BEST,
        costs: ChoiceCosts | None = None,
    ) -> None:
        """See class.

        Args:
            genes: of the search space.
            metric: what is predicted; decides the scale it is learned on.
            model: which models are tried.
            costs: of the space's choices by its layer graphs (`choice_costs`); None where it has none.
        """
        self._genes = tuple(genes)
        self._metric = metric
        self._model = model
        self._costs = costs
        self._samples: Samples | None = None
        self._choice: ModelChoice | None = None
        self._regressor: GaussianProcess | Trees | None = None
        self._without_folds: list[tuple[NDArray[np.int64], GaussianProcess | Trees]] | None = None

    @property
    def num_samples(self) -> int:
        """Number of evaluations it has learned from."""
        return 0 if self._samples is None else len(self._samples.values)

    @property
    def choice(self) -> ModelChoice:
        """The model in use. Raises EngineError before the first fit."""
        if self._choice is None:
            raise EngineError("predictor: fit it before asking what was chosen")
        return self._choice

    def fit(
        self,
        genotypes: Sequence[Sequence[int]] | Genotypes,
        values: Sequence[float],
        standard_errors: Sequence[float] | None = None,
        *,
        choice: ModelChoice | None = None,
        near: ModelChoice | None = None,
    ) -> None:
        """Learn from evaluations, replacing earlier ones.

        Args:
            genotypes: what was evaluated.
            values: what was found.
            standard_errors: of the values; None takes them as exact.
            choice: the model to use; None chooses one.
            near: an earlier choice, from whose hyper-parameters a new choice sets out.

        Raises:
            EngineError: fewer than `MIN_SAMPLES`, unequal lengths, a value that is not finite, a negative error.
        """
        samples = self._checked(genotypes, values, standard_errors)
        self._choice = choice or choose_model(self._genes, self._costs, self._metric, samples, self._model, near)
        self._samples = replace(samples, scale=TargetScale.fitting(self._metric, samples.values, self._choice.scale))
        self._regressor = self._without_folds = None

    def predict(self, genotypes: Sequence[Sequence[int]] | Genotypes) -> Prediction:
        """Mean and standard deviation per genotype.

        Raises:
            EngineError: not fitted yet, or a genotype of another space.
        """
        samples, regressor = self._fitted()
        mean, variance = regressor.predict(self._valid(genotypes))
        values = samples.scale.backward(mean)
        return Prediction(values, self.choice.widening * np.sqrt(variance) * samples.scale.step(values))

    def joint(self, genotypes: Genotypes) -> tuple[Floats, Floats]:
        """Expected values and their covariance with one another; genotypes are taken to be valid.

        Deviations are those towards better values, which is what an expected gain asks for.
        """
        samples, regressor = self._fitted()
        mean, covariance = regressor.joint(genotypes)
        deviations = self.choice.widening * np.sqrt(np.maximum(np.diag(covariance), 0.0))
        step = self.choice.widening * samples.scale.step_to_better(mean, deviations)
        return samples.scale.backward(mean), covariance * step[:, None] * step[None, :]

    def rough(self, genotypes: Genotypes) -> Prediction:
        """Expected values, with the error that samples had when they were left out: cheaper than `predict`.

        Deviations are those towards better values.
        """
        samples, regressor = self._fitted()
        mean, error = regressor.mean(genotypes), self.choice.left_out_error
        step = samples.scale.step_to_better(mean, np.full(len(mean), error))
        return Prediction(samples.scale.backward(mean), error * step)

    def mean(self, genotypes: Genotypes) -> Floats:
        """Expected values alone, which cost less; genotypes are taken to be valid."""
        samples, regressor = self._fitted()
        return samples.scale.backward(regressor.mean(genotypes))

    def intervals(self, genotypes: Sequence[Sequence[int]], coverage: float = 0.9) -> tuple[Floats, Floats]:
        """Lower and upper bounds that hold for this share of new evaluations, whatever the errors are like.

        They are those of cross-validation (CV+, Barber et al. 2021, "Predictive inference with the jackknife+"): every
        sample says how far a model that did not see it was off, and that model says what it predicts here.

        Raises:
            EngineError: as predict; too few samples for this coverage.
        """
        samples, _ = self._fitted()
        num = len(samples.values)
        place = math.ceil((num + 1) * coverage)
        if place > num:
            raise EngineError(f"predictor: intervals of {coverage:.0%} need more than the {num} samples there are")
        valid = self._valid(genotypes)
        lower, upper = np.empty((num, len(valid))), np.empty((num, len(valid)))
        for fold, model in self._models_without_folds():
            error = np.abs(samples.targets[fold] - model.predict(samples.genotypes[fold])[0])[:, None]
            predicted = model.predict(valid)[0]
            lower[fold], upper[fold] = predicted - error, predicted + error
        ends = (
            samples.scale.backward(np.partition(lower, num - place, axis=0)[num - place]),
            samples.scale.backward(np.partition(upper, place - 1, axis=0)[place - 1]),
        )
        return np.minimum(*ends), np.maximum(*ends)

    @property
    def scale(self) -> TargetScale:
        """Scale of the targets. Raises EngineError before the first fit."""
        return self._fitted()[0].scale

    def served(self, margin: float, nominal: float) -> ServedPredictor:
        """Bring it into plain arrays, which another process evaluates without what it was learned with.

        Args:
            margin: half width of its intervals, in units of the standardised targets.
            nominal: share of new evaluations that these are made to hold.
        """
        samples, regressor = self._fitted()
        return ServedPredictor(
            genes=self._genes,
            encoding=self.choice.encoding,
            scale=samples.scale,
            arrays=regressor.arrays(),
            margin=margin,
            nominal=nominal,
        )

    def _models_without_folds(self) -> list[tuple[NDArray[np.int64], GaussianProcess | Trees]]:
        """Each fold of the samples, and a model whose hyper-parameters did not see it either; made once per fit."""
        if self._without_folds is None:
            samples, _ = self._fitted()
            every = np.arange(len(samples.values))
            self._without_folds = []
            for fold in folds(len(every), NUM_INTERVAL_FOLDS):
                rest = np.setdiff1d(every, fold)
                data = samples.genotypes[rest], samples.targets[rest], samples.error_variance[rest]
                model = make_model(self._genes, self._costs, self._metric, self.choice)
                if isinstance(model, GaussianProcess):
                    model.learn_covariance(*data)
                model.fit(*data)
                self._without_folds.append((fold, model))
        return self._without_folds

    def believed(self) -> Floats:
        """Values of the samples after what the others say of each: told errors are weighed against predictions."""
        samples, regressor = self._fitted()
        if not samples.standard_errors.any():
            return samples.values
        left_out = regressor.left_out()
        variance = (left_out.variance - left_out.doubt) * self.choice.widening**2
        trust = variance / (variance + samples.error_variance)
        return samples.scale.backward(left_out.mean + trust * (samples.targets - left_out.mean))

    def state(self) -> JsonValue:
        """Training data and hyper-parameters as JSON; `from_state` predicts exactly the same."""
        samples = self._samples
        return {
            "state_version": STATE_VERSION,
            "metric": self._metric.name,
            "model": self._model.value,
            "choice": None if self._choice is None else self._choice.document(),
            "samples": None
            if samples is None
            else {
                "genotypes": samples.genotypes.tolist(),
                "values": samples.values.tolist(),
                "standard_errors": samples.standard_errors.tolist(),
            },
        }

    @classmethod
    def from_state(cls, genes: Sequence[Gene], state: JsonValue, costs: ChoiceCosts | None = None) -> MetricPredictor:
        """Inverse of `state`, given the same genes and costs.

        Raises:
            EngineError: the document is damaged or of another version.
        """
        if not isinstance(state, Mapping) or state.get("state_version") != STATE_VERSION:
            raise EngineError(f"predictor state is damaged or not of version {STATE_VERSION}: fit the predictor anew")
        try:
            predictor = cls(genes, metric_named(str(state["metric"])), PredictorModel(state["model"]), costs)
            samples = state["samples"]
            if samples is not None:
                if not isinstance(samples, Mapping) or not isinstance(samples["genotypes"], Sequence):
                    raise TypeError("samples must be an object with genotypes, values and standard_errors")
                genotypes = [[int(gene) for gene in numbers_in(genotype)] for genotype in samples["genotypes"]]
                values, errors = numbers_in(samples["values"]), numbers_in(samples["standard_errors"])
                predictor.fit(genotypes, values, errors, choice=ModelChoice.of(state["choice"]))
        except (KeyError, ValueError, TypeError) as error:
            raise EngineError(f"predictor state is damaged: {error}; fit the predictor anew") from error
        return predictor

    def _fitted(self) -> tuple[Samples, GaussianProcess | Trees]:
        if self._samples is None:
            raise EngineError("predictor: fit it before asking for predictions")
        if self._regressor is None:
            self._regressor = make_model(self._genes, self._costs, self._metric, self.choice)
            samples = self._samples
            self._regressor.fit(samples.genotypes, samples.targets, samples.error_variance)
        return self._samples, self._regressor

    def _valid(self, genotypes: Sequence[Sequence[int]] | Genotypes) -> Genotypes:
        if isinstance(genotypes, np.ndarray):
            return genotypes
        valid = [validate_genotype(self._genes, genotype) for genotype in genotypes]
        return np.asarray(valid, dtype=np.int64).reshape(len(valid), len(self._genes))

    def _checked(
        self,
        genotypes: Sequence[Sequence[int]] | Genotypes,
        values: Sequence[float],
        standard_errors: Sequence[float] | None,
    ) -> Samples:
        targets = np.asarray(values, dtype=np.float64)
        errors = np.zeros(len(targets)) if standard_errors is None else np.asarray(standard_errors, dtype=np.float64)
        if not len(genotypes) == len(targets) == len(errors) or len(targets) < MIN_SAMPLES:
            raise EngineError(
                f"predictor: {len(genotypes)} genotypes, {len(targets)} values, {len(errors)} standard errors; "
                f"give as many of each, at least {MIN_SAMPLES}"
            )
        sound = np.isfinite(targets) & np.isfinite(errors) & (errors >= 0)
        if not sound.all():
            raise EngineError(f"predictor: value or standard error {int(np.argmin(sound))} is not finite or negative")
        return Samples(self._valid(genotypes), targets, errors, TargetScale.fitting(self._metric, targets))
