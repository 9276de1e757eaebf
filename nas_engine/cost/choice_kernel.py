"""Covariance of a metric between genotypes, and the hyper-parameters that maximise its marginal likelihood.

Source: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006): posterior eq. 2.25-2.26, likelihood 2.30,
its gradient 5.9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize

from nas_engine.domain.search_space import Gene

Floats = NDArray[np.float64]

MAX_LIKELIHOOD_SAMPLES = 150
"""The likelihood is maximised on evenly spaced samples beyond this: its cost is cubic, its gain is not."""

MAX_LIKELIHOOD_STEPS = 60
"""Bound on the optimiser's iterations."""

JITTER = 1e-8
"""Added to the diagonal, in units of the standardised variance, against rounding."""

LOG_BOUNDS = ((-7.0, 4.0), (-7.0, 4.0), (-7.0, 2.0), (-3.0, 2.0), (-7.0, 2.0), (-3.0, 2.0), (-12.0, 0.0))
"""Of the logarithm of each hyper-parameter, in the order of `Covariance`."""


@dataclass(frozen=True, slots=True)
class Covariance:
    """Hyper-parameters, for targets standardised to mean 0 and variance 1.

    Attributes:
        linear: variance explained by a sum of one term per gene and choice.
        counts: variance explained by how often each operator is used.
        interaction: variance of the interaction of genes.
        length: share of differing genes over which the interaction decays by e.
        stage: variance of a smooth function of how often each operator is used in each stage (gene group).
        stage_length: its length scale, in the unit of `Features.stages`.
        noise: variance that nothing above explains, told standard errors apart.
    """

    linear: float = 0.1
    counts: float = 0.1
    interaction: float = 0.1
    length: float = 0.3
    stage: float = 0.1
    stage_length: float = 0.5
    noise: float = 0.01

    def values(self) -> tuple[float, ...]:
        """List the parameters in the order they are declared in."""
        return (
            self.linear,
            self.counts,
            self.interaction,
            self.length,
            self.stage,
            self.stage_length,
            self.noise,
        )


@dataclass(frozen=True, slots=True)
class Features:
    """Genotypes as numbers.

    Attributes:
        one_hot: (n, num_choices), rows of norm 1.
        counts: (n, num_labels), share of the genes that hold each option label.
        stages: (n, num_groups * num_labels), share of the genes that lie in the group and hold the label, times the
            square root of the number of groups.
    """

    one_hot: Floats
    counts: Floats
    stages: Floats

    def take(self, rows: NDArray[np.int64]) -> Features:
        """Keep the genotypes at `rows`."""
        return Features(self.one_hot[rows], self.counts[rows], self.stages[rows])


@dataclass(frozen=True, slots=True)
class _Likeness:
    """How alike pairs of genotypes are: agreeing share, product of operator counts, squared stage distance."""

    agreement: Floats
    counts: Floats
    stage_distance: Floats

    @classmethod
    def between(cls, a: Features, b: Features) -> _Likeness:
        """Every pair of `a` and `b`: three (len(a), len(b)) matrices."""
        squares = (a.stages**2).sum(axis=1)[:, None] + (b.stages**2).sum(axis=1)[None]
        distance = np.maximum(squares - 2.0 * a.stages @ b.stages.T, 0.0)
        return cls(a.one_hot @ b.one_hot.T, a.counts @ b.counts.T, distance)


class ChoiceKernel:
    """A sum of parts: per gene and choice, per operator count [, interaction of genes, smooth in the stages' counts].

    k(a, b) = linear * agreeing genes + counts * (operator counts . operator counts)
    [+ interaction * exp(-differing share / length) + stage * exp(-stage distance^2 / (2 stage_length^2))]
    """

    def __init__(self, genes: Sequence[Gene], *, interactions: bool) -> None:
        self._num_genes = len(genes)
        self._interactions = interactions
        self._offsets = np.cumsum([0, *(gene.num_choices for gene in genes)])
        pairs = [(gene.group, label) for gene in genes for label in gene.options]
        labels = sorted({label for _, label in pairs})
        groups = sorted({group for group, _ in pairs})
        self._to_label = np.eye(len(labels))[[labels.index(label) for _, label in pairs]]
        cells = [groups.index(group) * len(labels) + labels.index(label) for group, label in pairs]
        self._to_stage = np.eye(len(groups) * len(labels))[cells] * math.sqrt(len(groups))

    def features(self, genotypes: Sequence[Sequence[int]]) -> Features:
        """Compute the features of valid genotypes."""
        chosen = np.asarray(genotypes, dtype=np.int64).reshape(len(genotypes), self._num_genes)
        root = math.sqrt(self._num_genes)
        one_hot = np.zeros((len(genotypes), int(self._offsets[-1])))
        np.put_along_axis(one_hot, chosen + self._offsets[:-1], 1.0 / root, axis=1)
        return Features(one_hot, one_hot @ self._to_label / root, one_hot @ self._to_stage / root)

    def between(self, a: Features, b: Features, hyper: Covariance) -> Floats:
        """Compute the covariance matrix, (len(a), len(b))."""
        return np.asarray(sum(self._parts(_Likeness.between(a, b), hyper)))

    def variance(self, a: Features, hyper: Covariance) -> Floats:
        """Compute the diagonal of `between(a, a)`, (len(a),)."""
        diagonal: Floats = self._num_genes * (hyper.linear + hyper.counts * (a.counts**2).sum(axis=1))
        return diagonal + hyper.interaction + hyper.stage if self._interactions else diagonal

    def gram(self, known: Features, hyper: Covariance, error_variance: Floats) -> Floats:
        """Covariance of what was told: `between` plus noise, told error variances and jitter on the diagonal."""
        kernel: Floats = self.between(known, known, hyper) + np.diag(hyper.noise + JITTER + error_variance)
        return kernel

    def _parts(self, likeness: _Likeness, hyper: Covariance) -> tuple[Floats, ...]:
        """The summands: linear, counts[, interaction, stage]."""
        linear: Floats = self._num_genes * hyper.linear * likeness.agreement
        counts: Floats = self._num_genes * hyper.counts * likeness.counts
        if not self._interactions:
            return linear, counts
        interaction: Floats = hyper.interaction * np.exp((likeness.agreement - 1.0) / hyper.length)
        stage: Floats = hyper.stage * np.exp(-likeness.stage_distance / (2.0 * hyper.stage_length**2))
        return linear, counts, interaction, stage

    def most_likely(self, known: Features, targets: Floats, error_variance: Floats) -> Covariance:
        """Hyper-parameters of largest marginal likelihood; deterministic."""
        num = len(targets)
        rows = np.unique(np.linspace(0, num - 1, min(num, MAX_LIKELIHOOD_SAMPLES)).round().astype(np.int64))
        known, targets, error_variance = known.take(rows), targets[rows], error_variance[rows]
        likeness = _Likeness.between(known, known)

        def negative_log_likelihood(log_values: Floats) -> tuple[float, Floats]:
            hyper = Covariance(*(float(v) for v in np.exp(log_values)))
            parts = self._parts(likeness, hyper)
            gram = sum(parts, start=np.diag(hyper.noise + JITTER + error_variance))
            try:
                factor = cho_factor(gram, lower=True)
            except LinAlgError:
                return 1e12, np.zeros(len(log_values))
            solved, precision = cho_solve(factor, targets), cho_solve(factor, np.eye(len(targets)))
            value = 0.5 * float(targets @ solved) + float(np.log(np.diag(factor[0])).sum())
            # eq. 5.9: half the trace of (K^-1 - a a^T) dK.
            return value, _slopes(precision - np.outer(solved, solved), parts, likeness, hyper)

        start = np.log(Covariance().values())
        options = {"maxiter": MAX_LIKELIHOOD_STEPS}
        outcome = minimize(
            negative_log_likelihood, start, jac=True, method="L-BFGS-B", bounds=LOG_BOUNDS, options=options
        )
        return Covariance(*(float(v) for v in np.exp(outcome.x)))


def _slopes(inner: Floats, parts: Sequence[Floats], likeness: _Likeness, hyper: Covariance) -> Floats:
    """Derivatives of the negative log likelihood by the logarithm of each hyper-parameter, in declaration order.

    By its variance, a summand's derivative is the summand itself; absent summands have none.
    """
    slopes = np.zeros(len(LOG_BOUNDS))
    slopes[[0, 1]] = [float((inner * part).sum()) for part in parts[:2]]
    slopes[6] = hyper.noise * float(np.trace(inner))
    if len(parts) == 4:
        interaction, stage = parts[2:]
        slopes[2] = float((inner * interaction).sum())
        slopes[3] = float((inner * interaction * (1.0 - likeness.agreement)).sum()) / hyper.length
        slopes[4] = float((inner * stage).sum())
        slopes[5] = float((inner * stage * likeness.stage_distance).sum()) / hyper.stage_length**2
    return 0.5 * slopes
