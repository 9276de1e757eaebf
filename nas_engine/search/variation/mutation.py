"""Mutation of genotypes: structural genes and leaves apart, or every gene with one probability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas_engine.domain.architecture import Genotype
from nas_engine.search.encoding import Encoding


def different_value(value: int, num_choices: int, rng: np.random.Generator) -> int:
    """A uniform choice other than `value`; needs at least two choices."""
    drawn = int(rng.integers(num_choices - 1))
    return drawn + (drawn >= value)


def change_genes(
    encoding: Encoding, genotype: Genotype, positions: Sequence[int], num: int, rng: np.random.Generator
) -> Genotype:
    """Change `num` of the genes at `positions` so that each change has an effect on the architecture.

    Genes whose change `canonical` undoes (they have no effect) are passed over; where fewer than `num` have an
    effect, all of those change.
    """
    current = genotype
    changed = 0
    for position in rng.permutation(np.asarray(positions, dtype=np.int64)):
        if changed >= num:
            break
        trial = list(current)
        trial[position] = different_value(trial[position], encoding.num_choices[position], rng)
        candidate = encoding.canonical(trial)
        if candidate != current:
            current, changed = candidate, changed + 1
    return current


class HierarchicalMutation:
    """Either one structural gene or a few leaf genes change, each to a different value.

    A structural change can switch genes on that were off: those are drawn at random instead of waking up at choice 0.
    """

    def __init__(self, encoding: Encoding, *, structural_probability: float, mean_leaves: float) -> None:
        """See class.

        Args:
            encoding: of the space.
            structural_probability: of changing a structural gene, where there is one, not leaves.
            mean_leaves: mean of the Poisson number of leaf genes changed (at least one is).
        """
        self._encoding = encoding
        self._structural_probability = structural_probability
        self._mean_leaves = mean_leaves

    def __call__(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """The mutated genotype, canonical."""
        encoding = self._encoding
        structural = bool(encoding.structural) and rng.random() < self._structural_probability
        if structural or not encoding.leaves:
            return self._structural(genotype, rng)
        num = max(1, int(rng.poisson(self._mean_leaves)))
        mutated = change_genes(encoding, genotype, encoding.leaves, num, rng)
        return mutated if mutated != genotype else self._structural(genotype, rng)

    def _structural(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        if not self._encoding.structural:
            return genotype
        position = int(rng.choice(np.asarray(self._encoding.structural)))
        filled = self._encoding.fill_inactive(genotype, rng)
        filled[position] = different_value(filled[position], self._encoding.num_choices[position], rng)
        candidate = self._encoding.canonical(filled)
        if candidate != genotype:
            return candidate
        return change_genes(self._encoding, genotype, self._encoding.structural, 1, rng)


class PerGeneMutation:
    """Each gene changes with one probability, as in the evolutions of SPOS and AttentiveNAS."""

    def __init__(self, encoding: Encoding, probability: float, *, always_different: bool) -> None:
        """See class.

        Args:
            encoding: of the space.
            probability: per gene.
            always_different: a changed gene never keeps its value (AttentiveNAS); otherwise it is drawn from all
                choices and may (SPOS).
        """
        self._encoding = encoding
        self._probability = probability
        self._always_different = always_different

    def __call__(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """The mutated genotype, canonical; may equal `genotype` when no gene is hit."""
        mutated = list(genotype)
        for position in self._encoding.variable:
            if rng.random() < self._probability:
                num_choices = self._encoding.num_choices[position]
                if self._always_different:
                    mutated[position] = different_value(mutated[position], num_choices, rng)
                else:
                    mutated[position] = int(rng.integers(num_choices))
        return self._encoding.canonical(mutated)
