"""Crossover of genotypes: whole stages or single genes are exchanged, or the parents are mutated instead."""

from __future__ import annotations

import numpy as np

from nas_engine.domain.architecture import Genotype
from nas_engine.search.encoding import Encoding
from nas_engine.search.variation.operator_protocols import Crossover, Mutation


class StageBlockCrossover:
    """Exchanges whole gene groups (a stage's depth travels with its layers) or, otherwise, single genes."""

    def __init__(self, encoding: Encoding, block_probability: float) -> None:
        self._encoding = encoding
        self._block_probability = block_probability

    def __call__(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> tuple[Genotype, Genotype]:
        """Two canonical children."""
        if len(self._encoding.groups) > 1 and rng.random() < self._block_probability:
            swap = np.zeros(len(first), dtype=np.bool_)
            for group, chosen in zip(self._encoding.groups, rng.random(len(self._encoding.groups)) < 0.5, strict=True):
                swap[list(group)] = chosen
        else:
            swap = rng.random(len(first)) < 0.5
        a = [y if s else x for x, y, s in zip(first, second, swap, strict=True)]
        b = [x if s else y for x, y, s in zip(first, second, swap, strict=True)]
        return self._encoding.canonical(a), self._encoding.canonical(b)


class CrossOrMutate:
    """Makes children that are either mutations of their parents or crosses of them, never both.

    A pair of parents has both of them mutated with the ratio of mutation, and is crossed otherwise; so the children of
    a generation are the union of crossed and of mutated ones, in that ratio (SCARLET-NAS, Algorithm 1).
    """

    def __init__(self, crossover: Crossover, mutation: Mutation, mutation_ratio: float) -> None:
        self._crossover = crossover
        self._mutation = mutation
        self._ratio = mutation_ratio

    def __call__(self, first: Genotype, second: Genotype, rng: np.random.Generator) -> tuple[Genotype, Genotype]:
        """Two canonical children."""
        if rng.random() < self._ratio:
            return self._mutation(first, rng), self._mutation(second, rng)
        return self._crossover(first, second, rng)
