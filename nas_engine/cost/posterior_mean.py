"""The posterior mean of a Gaussian process over many genotypes, without its variance, in single precision.

What is linear in the choices needs no covariances: it is one number per gene and choice. Of the others only the share
of agreeing genes is computed, from a table of what each choice adds to it for every sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.choice_kernel import NEGLIGIBLE, ChoiceKernel, Covariance, squared_distance
from nas_engine.cost.encodings import Features, Floats, GenotypeFeatures, Genotypes

CHUNK = 2048
"""Genotypes that are predicted at once: their covariances stay in the processor's cache."""


class PosteriorMean:
    """Sum over the samples of weight times covariance (Rasmussen & Williams 2006, eq. 2.25)."""

    def __init__(
        self, features: GenotypeFeatures, kernel: ChoiceKernel, hyper: Covariance, known: Features, weights: Floats
    ) -> None:
        """See class.

        Args:
            features: of genotypes.
            kernel: of the process.
            hyper: its hyper-parameters.
            known: features of the samples.
            weights: of the samples in the mean.
        """
        self._features, self._hyper = features, hyper
        by_choice = features.by_choice()
        to_agreement = by_choice.choices * kernel.column_weights(hyper)
        self._linear = (
            hyper.linear * (to_agreement @ (known.choices.T @ weights))
            + hyper.counts * (by_choice.counts @ (known.counts.T @ weights))
            + hyper.smooth * (by_choice.smooth @ (known.smooth.T @ weights))
            + hyper.layers * (by_choice.layers @ (known.layers.T @ weights))
            + by_choice.totals @ (np.asarray(hyper.totals) * (known.totals.T @ weights))
        ).astype(np.float32)
        self._interactions = kernel.interactions
        self._agreement = (to_agreement @ known.choices.T).astype(np.float32)
        self._to_coarse = by_choice.coarse.astype(np.float32)
        self._coarse = known.coarse.astype(np.float32)
        self._weights = weights.astype(np.float32)

    def __call__(self, genotypes: Genotypes) -> Floats:
        """Mean per valid genotype, standardised as the targets."""
        parts = [self._of(genotypes[first : first + CHUNK]) for first in range(0, len(genotypes), CHUNK)]
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)

    def _of(self, genotypes: Genotypes) -> NDArray[Any]:
        genotypes = self._features.effective(genotypes)
        one_hot, hyper, weights = self._features.one_hot(genotypes, np.float32), self._hyper, self._weights
        total: NDArray[Any] = one_hot @ self._linear
        if not self._interactions:
            return total
        agreement = one_hot @ self._agreement
        if hyper.pairs > NEGLIGIBLE:
            total += (agreement * agreement) @ (hyper.pairs * weights)
        if hyper.interaction > NEGLIGIBLE:
            agreement -= 1.0
            agreement *= 1.0 / hyper.length
            total += np.exp(agreement, out=agreement) @ (hyper.interaction * weights)
        if hyper.coarse > NEGLIGIBLE:
            coarse = one_hot @ self._to_coarse
            longest = self._features.longest(genotypes)
            if longest is not None:
                coarse = np.hstack([coarse, longest.astype(np.float32)])
            distance = squared_distance(coarse, self._coarse)
            distance *= -0.5 / hyper.coarse_length**2
            total += np.exp(distance, out=distance) @ (hyper.coarse * weights)
        return total
