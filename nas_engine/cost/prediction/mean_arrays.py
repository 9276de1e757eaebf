"""The mean of a fitted model as plain arrays: what is left of it once it is learned. numpy alone evaluates it.

A Gaussian process leaves, per gene and choice, what is linear in the choices, and per sample what agrees with it; an
ensemble of trees leaves its nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.prediction.encodings import Floats, GenotypeFeatures, Genotypes

CHUNK = 2048
"""Genotypes that are predicted at once: their covariances stay in the processor's cache."""

NEGLIGIBLE = 1e-3
"""Share of the variance below which a part is not computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessArrays:
    """Posterior mean of a Gaussian process: the sum over the samples of weight times covariance (Rasmussen & Williams
    2006, eq. 2.25).

    Attributes:
        linear: what each gene's choice adds, (num_choices,).
        agreement: what it adds to the weighted share of genes that agree with each sample, (num_choices, num_samples).
        to_coarse: what it adds to the coarse features, (num_choices, num_coarse).
        coarse: those of the samples, (num_samples, num_coarse).
        weights: of the samples, (num_samples,).
        parts: variances and lengths of `interaction` and `coarse`, see `Covariance`: pairs, interaction, length,
            coarse, coarse_length; all 0 without interactions.
    """

    linear: NDArray[np.float32]
    agreement: NDArray[np.float32]
    to_coarse: NDArray[np.float32]
    coarse: NDArray[np.float32]
    weights: NDArray[np.float32]
    parts: Floats

    def mean(self, features: GenotypeFeatures, genotypes: Genotypes) -> Floats:
        """Mean per valid genotype, standardised as the targets."""
        parts = [self._of(features, genotypes[first : first + CHUNK]) for first in range(0, len(genotypes), CHUNK)]
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)

    def _of(self, features: GenotypeFeatures, genotypes: Genotypes) -> NDArray[Any]:
        genotypes = features.effective(genotypes)
        one_hot, weights = features.one_hot(genotypes, np.float32), self.weights
        pairs, interaction, length, coarse_variance, coarse_length = self.parts.tolist()
        total: NDArray[Any] = one_hot @ self.linear
        if max(pairs, interaction, coarse_variance) <= NEGLIGIBLE:
            return total
        agreement = one_hot @ self.agreement
        if pairs > NEGLIGIBLE:
            total += (agreement * agreement) @ (pairs * weights)
        if interaction > NEGLIGIBLE:
            agreement -= 1.0
            agreement *= 1.0 / length
            total += np.exp(agreement, out=agreement) @ (interaction * weights)
        if coarse_variance > NEGLIGIBLE:
            coarse = one_hot @ self.to_coarse
            longest = features.longest(genotypes)
            if longest is not None:
                coarse = np.hstack([coarse, longest.astype(np.float32)])
            distance = squared_distance(coarse, self.coarse)
            distance *= -0.5 / coarse_length**2
            total += np.exp(distance, out=distance) @ (coarse_variance * weights)
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeArrays:
    """Mean of an ensemble of regression trees.

    Attributes:
        left, right: place of each node's children among all nodes; a leaf's are its own.
        column: that a node looks at.
        threshold: a value up to it goes left.
        value: of each node.
        roots: place of each tree's first node.
        scale: of the sum of the trees' values.
        offset: added to it.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    column: NDArray[np.int64]
    threshold: Floats
    value: Floats
    roots: NDArray[np.int64]
    scale: float
    offset: float

    def mean(self, features: GenotypeFeatures, genotypes: Genotypes) -> Floats:
        """Mean per valid genotype, standardised as the targets."""
        columns = tree_columns(features, genotypes)
        rows = np.arange(len(columns))[:, None]
        nodes = np.broadcast_to(self.roots, (len(columns), len(self.roots)))
        while True:
            goes_left = columns[rows, self.column[nodes]] <= self.threshold[nodes]
            deeper = np.where(goes_left, self.left[nodes], self.right[nodes])
            if np.array_equal(deeper, nodes):
                return np.asarray(self.offset + self.scale * self.value[nodes].sum(axis=1))
            nodes = deeper


MAX_ONE_HOT_CHOICES = 64
"""Choices of all genes up to which trees see each of them as a column too."""


def tree_columns(features: GenotypeFeatures, genotypes: Genotypes) -> NDArray[np.float32]:
    """Compute what trees see of genotypes: choices as numbers, and counts of operators."""
    found = features.of(genotypes)
    columns = [features.effective(genotypes), found.counts, found.coarse]
    if features.num_choices <= MAX_ONE_HOT_CHOICES:
        columns.append(found.choices)
    return np.hstack(columns).astype(np.float32)


def squared_distance(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Squared distance of every row of `a` from every row of `b`."""
    distance = a @ (-2.0 * b.T)
    distance += (a**2).sum(axis=1)[:, None]
    distance += (b**2).sum(axis=1)[None]
    return np.asarray(np.maximum(distance, 0.0, out=distance))
