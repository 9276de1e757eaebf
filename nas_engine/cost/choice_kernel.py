"""Covariance of a metric between genotypes, and the hyper-parameters that maximise its marginal likelihood.

Source: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006): posterior eq. 2.25-2.26, likelihood 2.30.
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

MAX_LIKELIHOOD_SAMPLES = 300
"""The likelihood is maximised on evenly spaced samples beyond this: its cost is cubic, its gain is not."""

JITTER = 1e-8
"""Added to the diagonal, in units of the standardised variance, against rounding."""

LOG_BOUNDS = ((-7.0, 4.0), (-7.0, 4.0), (-7.0, 2.0), (-3.0, 2.0), (-12.0, 0.0))
"""Of the logarithm of each hyper-parameter, in the order of `Covariance`."""


@dataclass(frozen=True, slots=True)
class Covariance:
    """Hyper-parameters, for targets standardised to mean 0 and variance 1.

    Attributes:
        linear: variance explained by a sum of one term per gene and choice.
        counts: variance explained by how often each operator is used.
        interaction: variance of the interaction of genes.
        length: share of differing genes over which the interaction decays by e.
        noise: variance that nothing above explains, told standard errors apart.
    """

    linear: float = 0.1
    counts: float = 0.1
    interaction: float = 0.1
    length: float = 0.3
    noise: float = 0.01

    def values(self) -> tuple[float, ...]:
        """In declaration order."""
        return (self.linear, self.counts, self.interaction, self.length, self.noise)


@dataclass(frozen=True, slots=True)
class Features:
    """Genotypes as numbers.

    Attributes:
        one_hot: (n, num_choices), rows of norm 1.
        counts: (n, num_labels), share of the genes that hold each option label.
    """

    one_hot: Floats
    counts: Floats

    def take(self, rows: NDArray[np.int64]) -> Features:
        """Some of the genotypes."""
        return Features(self.one_hot[rows], self.counts[rows])


class ChoiceKernel:
    """k(a, b) = linear * agreement + counts * shared operators [+ interaction * exp(-differing share / length)]."""

    def __init__(self, genes: Sequence[Gene], *, interactions: bool) -> None:
        self._num_genes = len(genes)
        self._interactions = interactions
        self._offsets = np.cumsum([0, *(gene.num_choices for gene in genes)])
        labels = sorted({label for gene in genes for label in gene.options})
        index = {label: i for i, label in enumerate(labels)}
        columns = [index[label] for gene in genes for label in gene.options]
        self._to_label = np.eye(len(labels))[columns]

    def features(self, genotypes: Sequence[Sequence[int]]) -> Features:
        """Features of valid genotypes."""
        chosen = np.asarray(genotypes, dtype=np.int64).reshape(len(genotypes), self._num_genes)
        one_hot = np.zeros((len(genotypes), int(self._offsets[-1])))
        np.put_along_axis(one_hot, chosen + self._offsets[:-1], 1.0 / math.sqrt(self._num_genes), axis=1)
        return Features(one_hot, one_hot @ self._to_label / math.sqrt(self._num_genes))

    def between(self, a: Features, b: Features, hyper: Covariance) -> Floats:
        """Covariance matrix (len(a), len(b))."""
        agreement = a.one_hot @ b.one_hot.T
        kernel: Floats = self._num_genes * (hyper.linear * agreement + hyper.counts * (a.counts @ b.counts.T))
        if self._interactions:
            kernel = kernel + hyper.interaction * np.exp((agreement - 1.0) / hyper.length)
        return kernel

    def variance(self, a: Features, hyper: Covariance) -> Floats:
        """Diagonal of `between(a, a)`."""
        diagonal: Floats = self._num_genes * (hyper.linear + hyper.counts * (a.counts**2).sum(axis=1))
        return diagonal + hyper.interaction if self._interactions else diagonal

    def most_likely(self, known: Features, targets: Floats, error_variance: Floats) -> Covariance:
        """Hyper-parameters of largest marginal likelihood; deterministic."""
        num = len(targets)
        rows = np.unique(np.linspace(0, num - 1, min(num, MAX_LIKELIHOOD_SAMPLES)).round().astype(np.int64))
        known, targets, error_variance = known.take(rows), targets[rows], error_variance[rows]

        def negative_log_likelihood(log_values: Floats) -> float:
            hyper = Covariance(*(float(v) for v in np.exp(log_values)))
            try:
                factor = cho_factor(self.gram(known, hyper, error_variance), lower=True)
            except LinAlgError:
                return 1e12
            log_determinant = 2.0 * float(np.log(np.diag(factor[0])).sum())
            return 0.5 * (float(targets @ cho_solve(factor, targets)) + log_determinant)

        outcome = minimize(
            negative_log_likelihood,
            np.log(Covariance().values()),
            method="L-BFGS-B",
            bounds=LOG_BOUNDS,
            options={"maxiter": 40},
        )
        return Covariance(*(float(v) for v in np.exp(outcome.x)))

    def gram(self, known: Features, hyper: Covariance, error_variance: Floats) -> Floats:
        """Covariance of what was told: `between` plus noise, told error variances and jitter on the diagonal."""
        kernel: Floats = self.between(known, known, hyper) + np.diag(hyper.noise + JITTER + error_variance)
        return kernel
