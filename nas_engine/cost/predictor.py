"""Predictors of a metric (latency, accuracy) from the genotype, learned from few evaluations, with uncertainty.

A prediction is an estimate and never stands where a measurement is asked for. Which family of models and which
encoding of the genotypes predict best is found by leaving samples out; the left-out errors are what the intervals are
made of, so that they hold as often as they say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.choice_kernel import Covariance
from nas_engine.cost.encodings import Encoding, Floats, Genotypes, distinct_encodings
from nas_engine.cost.regressors import Family, GaussianProcess, LeftOut, Trees, folds
from nas_engine.cost.target_scale import TargetScale
from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import metric_named
from nas_engine.domain.search_space import Gene, validate_genotype

STATE_VERSION = 2
MIN_SAMPLES = 3

MAX_CHOICE_SAMPLES = 250
"""Families are compared on evenly spaced samples beyond this."""

GOOD_ENOUGH = 0.1
"""Left-out error, in standard deviations of the values, below which the Gaussian process is not compared with trees."""

TREES_MUST_SAVE = 0.95
"""Trees are taken where their left-out error is below this share of the Gaussian process's."""

BOOSTING_WITHIN = 1.3
"""Boosted trees are tried where random trees come this near to the error that is to be undercut."""

MIN_TREE_SAMPLES = 20

NUM_INTERVAL_FOLDS = 16
"""Parts in which samples are left out for intervals: models that lack a quarter of them err more than the one that
lacks none, and intervals of their errors hold too often."""


class PredictorModel(Enum):
    """Which models are tried: Bayesian linear regression, Gaussian processes, or trees as well."""

    RIDGE = "ridge"
    GAUSSIAN_PROCESS = "gaussian_process"
    BEST = "best"


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
class ModelChoice:
    """What was chosen by leaving samples out; with the samples it makes the same predictor again.

    Attributes:
        family: of models.
        encoding: of the genotypes, for families that use it.
        covariance: hyper-parameters of a Gaussian process; empty for trees.
        num_samples: it was chosen on.
        left_out_error: root mean square, in standard deviations of the values.
        widening: factor that makes predicted standard deviations agree with left-out errors.
    """

    family: Family
    encoding: Encoding
    covariance: tuple[float, ...]
    num_samples: int
    left_out_error: float
    widening: float

    def document(self) -> JsonValue:
        """Say which model it is, for a checkpoint or a report."""
        return {
            "family": self.family.value,
            "encoding": self.encoding.value,
            "covariance": list(self.covariance),
            "num_samples": self.num_samples,
            "left_out_error": self.left_out_error,
            "widening": self.widening,
        }

    @classmethod
    def of(cls, document: JsonValue) -> ModelChoice:
        """Inverse of `document`.

        Raises EngineError where it is damaged.
        """
        try:
            if not isinstance(document, Mapping):
                raise TypeError(f"expected an object, found {document!r}")
            numbers = [_numbers([document[name]])[0] for name in ("num_samples", "left_out_error", "widening")]
            return cls(
                Family(document["family"]),
                Encoding(document["encoding"]),
                tuple(_numbers(document["covariance"])),
                int(numbers[0]),
                *numbers[1:],
            )
        except (KeyError, ValueError, TypeError) as error:
            raise EngineError(f"chosen model is damaged: {error}; choose it anew") from error


@dataclass(frozen=True, slots=True)
class _Samples:
    """Training data in the metric's unit, and the scale they are learned on."""

    genotypes: Genotypes
    values: Floats
    standard_errors: Floats
    scale: TargetScale

    @property
    def targets(self) -> Floats:
        """What the models are fitted to: the values on their scale, standardised."""
        return self.scale.forward(self.values)

    @property
    def error_variance(self) -> Floats:
        """Of the targets."""
        return (self.standard_errors / self.scale.step(self.values)) ** 2


class MetricPredictor:
    """Predicts one metric over the genotypes of one encoding."""

    def __init__(self, genes: Sequence[Gene], metric: Metric, model: PredictorModel = PredictorModel.BEST) -> None:
        """See class.

        Args:
            genes: of the search space.
            metric: what is predicted; decides the scale it is learned on.
            model: which models are tried.
        """
        self._genes = tuple(genes)
        self._metric = metric
        self._model = model
        self._samples: _Samples | None = None
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
        self._samples = self._checked(genotypes, values, standard_errors)
        self._choice = choice or self._chosen(self._samples, near)
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

    def _models_without_folds(self) -> list[tuple[NDArray[np.int64], GaussianProcess | Trees]]:
        """Each fold of the samples, and a model whose hyper-parameters did not see it either; made once per fit."""
        if self._without_folds is None:
            samples, _ = self._fitted()
            every = np.arange(len(samples.values))
            self._without_folds = []
            for fold in folds(len(every), NUM_INTERVAL_FOLDS):
                rest = np.setdiff1d(every, fold)
                data = samples.genotypes[rest], samples.targets[rest], samples.error_variance[rest]
                model = self._made(self.choice)
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
        variance = left_out.variance * self.choice.widening**2
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
    def from_state(cls, genes: Sequence[Gene], state: JsonValue) -> MetricPredictor:
        """Inverse of `state`.

        Raises:
            EngineError: the document is damaged or of another version.
        """
        if not isinstance(state, Mapping) or state.get("state_version") != STATE_VERSION:
            raise EngineError(f"predictor state is damaged or not of version {STATE_VERSION}: fit the predictor anew")
        try:
            predictor = cls(genes, metric_named(str(state["metric"])), PredictorModel(state["model"]))
            samples = state["samples"]
            if samples is not None:
                if not isinstance(samples, Mapping) or not isinstance(samples["genotypes"], Sequence):
                    raise TypeError("samples must be an object with genotypes, values and standard_errors")
                genotypes = [[int(gene) for gene in _numbers(genotype)] for genotype in samples["genotypes"]]
                values, errors = _numbers(samples["values"]), _numbers(samples["standard_errors"])
                predictor.fit(genotypes, values, errors, choice=ModelChoice.of(state["choice"]))
        except (KeyError, ValueError, TypeError) as error:
            raise EngineError(f"predictor state is damaged: {error}; fit the predictor anew") from error
        return predictor

    def _fitted(self) -> tuple[_Samples, GaussianProcess | Trees]:
        if self._samples is None:
            raise EngineError("predictor: fit it before asking for predictions")
        if self._regressor is None:
            self._regressor = self._made(self.choice)
            samples = self._samples
            self._regressor.fit(samples.genotypes, samples.targets, samples.error_variance)
        return self._samples, self._regressor

    def _made(self, choice: ModelChoice) -> GaussianProcess | Trees:
        if choice.family in (Family.BOOSTED_TREES, Family.RANDOM_TREES):
            trees = Trees(self._genes, choice.family, choice.encoding)
            trees.assume_variance(choice.left_out_error**2)
            return trees
        process = GaussianProcess(self._genes, choice.encoding, interactions=choice.family is not Family.RIDGE)
        process.covariance = Covariance.of(choice.covariance)
        return process

    def _chosen(self, samples: _Samples, near: ModelChoice | None) -> ModelChoice:
        """Compare encodings, then families, by the errors of left-out samples."""
        num = len(samples.values)
        rows = np.unique(np.linspace(0, num - 1, min(num, MAX_CHOICE_SAMPLES)).round().astype(np.int64))
        data = samples.genotypes[rows], samples.targets[rows], samples.error_variance[rows]
        family = Family.RIDGE if self._model is PredictorModel.RIDGE else Family.GAUSSIAN_PROCESS
        best: ModelChoice | None = None
        for encoding in distinct_encodings(self._genes):
            process = GaussianProcess(self._genes, encoding, interactions=family is not Family.RIDGE)
            start = Covariance.of(near.covariance) if near is not None and near.covariance else None
            process.learn_covariance(*data, start)
            process.fit(*data)
            choice = _judged(
                ModelChoice(family, encoding, process.covariance.values(), num, 0.0, 1.0), process.left_out(), *data[1:]
            )
            if best is None or choice.left_out_error < best.left_out_error:
                best = choice
        assert best is not None
        if self._model is not PredictorModel.BEST or best.left_out_error < GOOD_ENOUGH or num < MIN_TREE_SAMPLES:
            return best
        limit = TREES_MUST_SAVE * best.left_out_error
        for family in (Family.RANDOM_TREES, Family.BOOSTED_TREES):
            encoding = best.encoding if best.encoding is Encoding.CELL else Encoding.CHOICES
            trees = Trees(self._genes, family, encoding)
            trees.fit(*data)
            choice = _judged(ModelChoice(family, encoding, (), num, 0.0, 1.0), trees.left_out(), *data[1:])
            if choice.left_out_error > BOOSTING_WITHIN * limit:
                break
            if choice.left_out_error < limit:
                best, limit = choice, choice.left_out_error
        return best

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
        return _Samples(self._valid(genotypes), targets, errors, TargetScale.fitting(self._metric, targets))


def _judged(choice: ModelChoice, left_out: LeftOut, targets: Floats, error_variance: Floats) -> ModelChoice:
    """With the left-out error, and the factor that makes the predicted spread agree with it."""
    squares = (left_out.mean - targets) ** 2
    weights = 1.0 / (1.0 + error_variance)
    error = math.sqrt(float(np.average(squares, weights=weights)))
    ratio = float(np.mean(squares / (left_out.variance + error_variance)))
    return replace(choice, left_out_error=error, widening=min(max(math.sqrt(ratio), 0.5), 3.0))


def _numbers(value: JsonValue) -> list[float]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"expected an array of numbers, found {value!r}")
    numbers = []
    for item in value:
        if not isinstance(item, (int, float)):
            raise TypeError(f"expected a number, found {item!r}")
        numbers.append(float(item))
    return numbers
