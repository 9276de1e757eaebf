"""The two protocols of variation: mutation changes one genotype, crossover makes one of two."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from nas_engine.domain.architecture import Genotype


class Mutation(Protocol):
    """Turns one canonical genotype into another."""

    def __call__(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """A canonical genotype; differs from `genotype` wherever the space has another architecture in reach."""


class Crossover(Protocol):
    """Makes two children of two canonical parents."""

    def __call__(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> tuple[Genotype, Genotype]:
        """Two canonical children; where nothing is mutated, each gene of a child comes from one of the parents."""
