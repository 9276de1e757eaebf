"""The choice among the models of a predictor: families and encodings, compared by leaving samples out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.prediction.choice_costs import ChoiceCosts
from nas_engine.cost.prediction.choice_kernel import Covariance
from nas_engine.cost.prediction.encodings import FeatureEncoding, Floats, Genotypes, distinct_encodings
from nas_engine.cost.prediction.regressors import Family, GaussianProcess, LeftOut, Trees
from nas_engine.cost.prediction.target_scale import Scale, TargetScale
from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.metric import Metric
from nas_engine.domain.search_space import Gene

MAX_CHOICE_SAMPLES = 300
"""Families are compared on evenly spaced samples beyond this."""

GOOD_ENOUGH = 0.1
"""Left-out error, in standard deviations of the values, below which the Gaussian process is not compared with trees."""

TREES_MUST_SAVE = 0.95
"""Trees are taken where their left-out error is below this share of the Gaussian process's."""

BOOSTING_WITHIN = 1.3
"""Boosted trees are tried where random trees come this near to the error that is to be undercut."""

MIN_TREE_SAMPLES = 20

TIMED_UNITS = frozenset({"s", "ms", "us", "ns"})
"""Units of metrics that are timed on a device: what disturbs a run there makes it longer, now and then by much."""


class PredictorModel(Enum):
    """Which models are tried: Bayesian linear regression, Gaussian processes, or trees as well."""

    RIDGE = "ridge"
    GAUSSIAN_PROCESS = "gaussian_process"
    BEST = "best"


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
        scale: that the metric is learned on; None leaves it to the values, as choices of earlier versions do.
    """

    family: Family
    encoding: FeatureEncoding
    covariance: tuple[float, ...]
    num_samples: int
    left_out_error: float
    widening: float
    scale: Scale | None = None

    def document(self) -> JsonValue:
        """Say which model it is, for a checkpoint or a report."""
        return {
            "family": self.family.value,
            "encoding": self.encoding.value,
            "covariance": list(self.covariance),
            "num_samples": self.num_samples,
            "left_out_error": self.left_out_error,
            "widening": self.widening,
            "scale": None if self.scale is None else self.scale.value,
        }

    @classmethod
    def of(cls, document: JsonValue) -> ModelChoice:
        """Inverse of `document`.

        Raises EngineError where it is damaged.
        """
        try:
            if not isinstance(document, Mapping):
                raise TypeError(f"expected an object, found {document!r}")
            numbers = [numbers_in([document[name]])[0] for name in ("num_samples", "left_out_error", "widening")]
            scale = document.get("scale")
            return cls(
                Family(document["family"]),
                FeatureEncoding(document["encoding"]),
                tuple(numbers_in(document["covariance"])),
                int(numbers[0]),
                numbers[1],
                numbers[2],
                None if scale is None else Scale(scale),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise EngineError(f"chosen model is damaged: {error}; choose it anew") from error


@dataclass(frozen=True, slots=True)
class Samples:
    """Training data in the metric's unit, and the scale they are learned on."""

    genotypes: Genotypes
    values: Floats
    standard_errors: Floats
    scale: TargetScale

    def at(self, rows: NDArray[np.int64]) -> Samples:
        """Those at `rows`, on the same scale."""
        return replace(
            self,
            genotypes=self.genotypes[rows],
            values=self.values[rows],
            standard_errors=self.standard_errors[rows],
        )

    @property
    def targets(self) -> Floats:
        """What the models are fitted to: the values on their scale, standardised."""
        return self.scale.forward(self.values)

    @property
    def error_variance(self) -> Floats:
        """Of the targets."""
        return (self.standard_errors / self.scale.step(self.values)) ** 2


def make_model(
    genes: Sequence[Gene], costs: ChoiceCosts | None, metric: Metric, choice: ModelChoice
) -> GaussianProcess | Trees:
    """Make the model that was chosen, not fitted yet."""
    if choice.family in (Family.BOOSTED_TREES, Family.RANDOM_TREES):
        trees = Trees(genes, choice.family, choice.encoding)
        trees.assume_variance(choice.left_out_error**2)
        return trees
    process = GaussianProcess(
        genes, choice.encoding, costs, interactions=choice.family is not Family.RIDGE, doubts=metric.unit in TIMED_UNITS
    )
    process.covariance = Covariance.of(choice.covariance, len(genes))
    return process


def choose_model(
    genes: Sequence[Gene],
    costs: ChoiceCosts | None,
    metric: Metric,
    samples: Samples,
    model: PredictorModel,
    near: ModelChoice | None,
) -> ModelChoice:
    """Compare encodings by the errors of left-out samples, then scales by their likelihood, then families by errors."""
    num = len(samples.values)
    rows = np.unique(np.linspace(0, num - 1, min(num, MAX_CHOICE_SAMPLES)).round().astype(np.int64))
    samples = samples.at(rows)
    data = samples.genotypes, samples.targets, samples.error_variance
    family = Family.RIDGE if model is PredictorModel.RIDGE else Family.GAUSSIAN_PROCESS
    start = Covariance.of(near.covariance, len(genes)) if near is not None and near.covariance else None

    def judged(
        encoding: FeatureEncoding, samples: Samples, start: Covariance | None, doubts: bool = False
    ) -> tuple[ModelChoice, float]:
        """A Gaussian process, and the logarithm of its likelihood per sample in the metric's unit."""
        data = samples.genotypes, samples.targets, samples.error_variance
        process = GaussianProcess(genes, encoding, costs, interactions=family is not Family.RIDGE, doubts=doubts)
        process.learn_covariance(*data, start)
        process.fit(*data)
        found = ModelChoice(family, encoding, process.covariance.values(), num, 0.0, 1.0, samples.scale.scale)
        evidence = process.evidence - float(np.log(np.abs(samples.scale.step(samples.values))).mean())
        return _judged(found, process.left_out(), *data[1:]), evidence

    tried = [judged(encoding, samples, start) for encoding in distinct_encodings(genes, costs)]
    best, evidence = min(tried, key=lambda one: one[0].left_out_error * _handicap(one[0].encoding, len(rows)))
    other_scale = samples.scale.scale.other(samples.values)
    if other_scale is not None:
        rescaled = replace(samples, scale=TargetScale.fitting(metric, samples.values, other_scale))
        other, other_evidence = judged(best.encoding, rescaled, Covariance.of(best.covariance, len(genes)))
        if other_evidence > evidence:
            best, samples = other, rescaled
            data = samples.genotypes, samples.targets, samples.error_variance
    if metric.unit in TIMED_UNITS:
        best, _ = judged(best.encoding, samples, Covariance.of(best.covariance, len(genes)), doubts=True)
    if model is not PredictorModel.BEST or best.left_out_error < GOOD_ENOUGH or num < MIN_TREE_SAMPLES:
        return best
    limit = TREES_MUST_SAVE * best.left_out_error
    for family in (Family.RANDOM_TREES, Family.BOOSTED_TREES):
        encoding = best.encoding if best.encoding is FeatureEncoding.CELL else FeatureEncoding.CHOICES
        trees = Trees(genes, family, encoding)
        trees.fit(*data)
        choice = _judged(ModelChoice(family, encoding, (), num, 0.0, 1.0, best.scale), trees.left_out(), *data[1:])
        if choice.left_out_error > BOOSTING_WITHIN * limit:
            break
        if choice.left_out_error < limit:
            best, limit = choice, choice.left_out_error
    return best


def _handicap(encoding: FeatureEncoding, num: int) -> float:
    """Factor of left-out errors that are compared.

    What layer graphs say is known, and left-out errors of few samples tell little: other encodings must do better by
    more than the standard error of an error, as the simpler of two models is kept (Hastie et al. 2009, sec. 7.10).
    """
    return 1.0 - 1.0 / math.sqrt(2.0 * num) if encoding is FeatureEncoding.LAYERS else 1.0


def _judged(choice: ModelChoice, left_out: LeftOut, targets: Floats, error_variance: Floats) -> ModelChoice:
    """With the left-out error, and the factor that makes the predicted spread agree with it."""
    squares = (left_out.mean - targets) ** 2
    weights = 1.0 / (1.0 + error_variance)
    error = math.sqrt(float(np.average(squares, weights=weights)))
    ratio = float(np.mean(squares / (left_out.variance + error_variance)))
    return replace(choice, left_out_error=error, widening=min(max(math.sqrt(ratio), 0.5), 3.0))


def numbers_in(value: JsonValue) -> list[float]:
    """Read an array of numbers. Raises TypeError where it is none."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"expected an array of numbers, found {value!r}")
    numbers = []
    for item in value:
        if not isinstance(item, (int, float)):
            raise TypeError(f"expected a number, found {item!r}")
        numbers.append(float(item))
    return numbers
