"""Predictors of a metric (latency, accuracy) from the genotype, learned from few evaluations, with uncertainty.

A prediction is an estimate and never stands where a measurement is asked for. Both models are Gaussian posteriors in
closed form, so every prediction has a standard deviation, and a checkpoint is the training data and five numbers:

- ridge: Bayesian linear regression on the choices (a term per gene and choice, and per-operator counts). With many
  data it tends to a per-operator latency table.
- gaussian process: the same plus interactions between genes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from nas_engine.cost.choice_kernel import ChoiceKernel, Covariance, Features, Floats
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import metric_named
from nas_engine.domain.search_space import Gene, validate_genotype

STATE_VERSION = 1
MIN_SAMPLES = 3
LOGARITHMIC_SPAN = 3.0
"""Positive metrics that span more than this factor are learned on a logarithmic scale: errors are relative there."""


class Scale(Enum):
    """The scale a metric is learned on.

    LOG_ERROR is minus the logarithm of what a fraction (accuracy) lacks to 1: accuracies saturate, and the step from
    92 % to 93 % is as hard to make as many an earlier larger one.
    """

    LINEAR = "linear"
    LOG = "log"
    LOG_ERROR = "log_error"

    @classmethod
    def fitting(cls, metric: Metric, values: Floats) -> Scale:
        """The scale for these values of a metric."""
        if metric.unit == "fraction":
            return cls.LOG_ERROR if values.max() < 1.0 else cls.LINEAR
        spans = values.min() > 0 and values.max() > LOGARITHMIC_SPAN * values.min()
        return cls.LOG if spans else cls.LINEAR

    def forward(self, values: Floats) -> Floats:
        """Bring metric values onto the scale the process is fitted on."""
        match self:
            case Scale.LINEAR:
                return values
            case Scale.LOG:
                return np.asarray(np.log(values))
            case Scale.LOG_ERROR:
                return np.asarray(-np.log1p(-values))

    def backward(self, values: Floats) -> Floats:
        """Bring values of the fitted scale back to the metric's unit."""
        match self:
            case Scale.LINEAR:
                return values
            case Scale.LOG:
                return np.asarray(np.exp(values))
            case Scale.LOG_ERROR:
                return np.asarray(-np.expm1(-values))

    def step(self, values: Floats) -> Floats:
        """How far the metric moves per unit of this scale, at metric values `values`."""
        match self:
            case Scale.LINEAR:
                return np.ones_like(values)
            case Scale.LOG:
                return values
            case Scale.LOG_ERROR:
                return 1.0 - values


class PredictorModel(Enum):
    """Covariance of the predictor: linear in genes and operator counts (ridge), or with their interactions as well."""

    RIDGE = "ridge"
    GAUSSIAN_PROCESS = "gaussian_process"


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


@dataclass(frozen=True, slots=True)
class _Posterior:
    """What prediction needs of the training data: features, the solved system, the standardisation."""

    known: Features
    weights: Floats
    precision: Floats
    centre: float
    scale: float


@dataclass(frozen=True, slots=True)
class _Samples:
    """Training data in the metric's unit, and the scale they are learned on."""

    genotypes: tuple[Genotype, ...]
    values: Floats
    standard_errors: Floats
    learned_on: Scale

    def standardised(self) -> tuple[Floats, Floats, float, float]:
        """Targets of mean 0 and variance 1, their error variances, and the centre and scale to undo it."""
        values = self.learned_on.forward(self.values)
        errors = self.standard_errors / self.learned_on.step(self.values)
        centre, spread = float(values.mean()), float(values.std())
        scale = spread if spread > 0 else 1.0
        return (values - centre) / scale, (errors / scale) ** 2, centre, scale


class MetricPredictor:
    """Predicts one metric over the genotypes of one encoding."""

    def __init__(
        self, genes: Sequence[Gene], metric: Metric, model: PredictorModel = PredictorModel.GAUSSIAN_PROCESS
    ) -> None:
        """See class.

        Args:
            genes: of the search space.
            metric: what is predicted; decides the scale it is learned on.
            model: which posterior.
        """
        self._genes = tuple(genes)
        self._metric = metric
        self._model = model
        self._kernel = ChoiceKernel(self._genes, interactions=model is PredictorModel.GAUSSIAN_PROCESS)
        self._samples: _Samples | None = None
        self._covariance = Covariance()
        self._posterior: _Posterior | None = None

    @property
    def num_samples(self) -> int:
        """Number of evaluations the posterior is conditioned on."""
        return 0 if self._samples is None else len(self._samples.genotypes)

    def fit(
        self,
        genotypes: Sequence[Sequence[int]],
        values: Sequence[float],
        standard_errors: Sequence[float] | None = None,
    ) -> None:
        """Learn from evaluations, replacing earlier ones.

        Args:
            genotypes: what was evaluated.
            values: what was found.
            standard_errors: of the values; None takes them as exact.

        Raises:
            EngineError: fewer than `MIN_SAMPLES`, unequal lengths, a value that is not finite, a negative error.
        """
        samples = self._checked(genotypes, values, standard_errors)
        targets, error_variance, _, _ = samples.standardised()
        self._covariance = self._kernel.most_likely(self._kernel.features(samples.genotypes), targets, error_variance)
        self._samples = samples
        self._posterior = None

    def predict(self, genotypes: Sequence[Sequence[int]]) -> Prediction:
        """Mean and standard deviation per genotype.

        Raises:
            EngineError: not fitted yet, or a genotype of another space.
        """
        if self._samples is None:
            raise EngineError("predictor: fit it before asking for predictions")
        if self._posterior is None:
            known = self._kernel.features(self._samples.genotypes)
            targets, error_variance, centre, scale = self._samples.standardised()
            factor = cho_factor(self._kernel.gram(known, self._covariance, error_variance), lower=True)
            precision = cho_solve(factor, np.eye(len(targets)))
            self._posterior = _Posterior(known, cho_solve(factor, targets), precision, centre, scale)
        posterior, hyper = self._posterior, self._covariance
        features = self._kernel.features([validate_genotype(self._genes, genotype) for genotype in genotypes])
        cross = self._kernel.between(features, posterior.known, hyper)
        explained = (cross @ posterior.precision * cross).sum(axis=1)
        variance = np.maximum(self._kernel.variance(features, hyper) - explained, 0.0) + hyper.noise
        mean = self._samples.learned_on.backward(cross @ posterior.weights * posterior.scale + posterior.centre)
        return Prediction(mean, np.sqrt(variance) * posterior.scale * self._samples.learned_on.step(mean))

    def state(self) -> JsonValue:
        """Training data and hyper-parameters as JSON; `from_state` predicts exactly the same."""
        samples = self._samples
        return {
            "state_version": STATE_VERSION,
            "metric": self._metric.name,
            "model": self._model.value,
            "covariance": list(self._covariance.values()),
            "samples": None
            if samples is None
            else {
                "genotypes": [list(genotype) for genotype in samples.genotypes],
                "values": samples.values.tolist(),
                "standard_errors": samples.standard_errors.tolist(),
            },
        }

    @classmethod
    def from_state(cls, genes: Sequence[Gene], state: JsonValue) -> MetricPredictor:
        """Inverse of `state`.

        Raises:
            EngineError: the document is damaged or of another version.
        """
        if not isinstance(state, Mapping) or state.get("state_version") != STATE_VERSION:
            raise EngineError(f"predictor state is damaged or not of version {STATE_VERSION}: fit the predictor anew")
        try:
            predictor = cls(genes, metric_named(str(state["metric"])), PredictorModel(state["model"]))
            predictor._covariance = Covariance(*_numbers(state["covariance"]))
            samples = state["samples"]
            if samples is not None:
                if not isinstance(samples, Mapping) or not isinstance(samples["genotypes"], Sequence):
                    raise TypeError("samples must be an object with genotypes, values and standard_errors")
                genotypes = [[int(gene) for gene in _numbers(genotype)] for genotype in samples["genotypes"]]
                values, errors = _numbers(samples["values"]), _numbers(samples["standard_errors"])
                predictor._samples = predictor._checked(genotypes, values, errors)
        except (KeyError, ValueError, TypeError) as error:
            raise EngineError(f"predictor state is damaged: {error}; fit the predictor anew") from error
        return predictor

    def _checked(
        self,
        genotypes: Sequence[Sequence[int]],
        values: Sequence[float],
        standard_errors: Sequence[float] | None,
    ) -> _Samples:
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
        valid = tuple(validate_genotype(self._genes, genotype) for genotype in genotypes)
        return _Samples(valid, targets, errors, Scale.fitting(self._metric, targets))


def _numbers(value: JsonValue) -> list[float]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"expected an array of numbers, found {value!r}")
    numbers = []
    for item in value:
        if not isinstance(item, (int, float)):
            raise TypeError(f"expected a number, found {item!r}")
        numbers.append(float(item))
    return numbers
