"""A search space's integer encoding in the form operators need: arrays, groups, and which genes have an effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.search_space import GeneKind, SearchSpace


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of one space.

    Attributes:
        space: the space itself, for `canonical`.
        num_choices: choices per gene, in genotype order.
        groups: positions of the genes of each group, in order of first appearance.
        structural: positions of genes that switch other genes on and off and have more than one choice.
        leaves: positions of the other genes with more than one choice.
    """

    space: SearchSpace
    num_choices: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    structural: tuple[int, ...]
    leaves: tuple[int, ...]

    @classmethod
    def of(cls, space: SearchSpace) -> Encoding:
        """The encoding of `space`."""
        groups: dict[str, list[int]] = {}
        structural: list[int] = []
        leaves: list[int] = []
        for position, gene in enumerate(space.genes):
            groups.setdefault(gene.group, []).append(position)
            if gene.num_choices > 1:
                (structural if gene.kind is GeneKind.STRUCTURAL else leaves).append(position)
        return cls(
            space,
            tuple(gene.num_choices for gene in space.genes),
            tuple(tuple(positions) for positions in groups.values()),
            tuple(structural),
            tuple(leaves),
        )

    @property
    def variable(self) -> tuple[int, ...]:
        """Positions of every gene with more than one choice."""
        return self.structural + self.leaves

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        """Validated, with genes that have no effect zeroed."""
        return self.space.canonical(genotype)

    def canonical_children(self, genotypes: NDArray[np.int64]) -> list[Genotype]:
        """`canonical` of many whose genes are within their choices, cheaply where no gene switches others off."""
        rows: list[list[int]] = genotypes.tolist()
        return [tuple(row) for row in rows] if not self.structural else [self.canonical(row) for row in rows]

    def random(self, rng: np.random.Generator) -> Genotype:
        """A uniform draw, gene by gene, made canonical."""
        return self.canonical([int(value) for value in rng.integers(self.num_choices)])

    def inactive_leaves(self, genotype: Sequence[int]) -> tuple[int, ...]:
        """Positions of leaf genes without effect under the structural genes of `genotype`.

        Only structural genes switch others off (`GeneKind`), so one probe with every leaf at a non-zero choice
        shows which leaves `canonical` zeroes.
        """
        if not self.structural:
            return ()
        probe = list(genotype)
        for position in self.leaves:
            probe[position] = 1
        canonical = self.canonical(probe)
        return tuple(position for position in self.leaves if canonical[position] == 0)

    def fill_inactive(self, genotype: Sequence[int], rng: np.random.Generator) -> list[int]:
        """`genotype` with its leaves without effect drawn anew.

        A change of structure can switch such genes on; without this they would always wake up at choice 0.
        """
        filled = list(genotype)
        for position in self.inactive_leaves(genotype):
            filled[position] = int(rng.integers(self.num_choices[position]))
        return filled
