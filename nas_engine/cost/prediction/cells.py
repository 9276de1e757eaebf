"""Cells: spaces whose genes are the edges of a complete directed graph of few nodes, as NAS-Bench-201's are.

An operator "none" breaks every path through its edge, and what lies on no path from the first node to the last has no
effect. Whether a space is one is guessed from the number of its genes and from an option's label; whether the guess
helps is left to whoever compares encodings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.search_space import Gene

BREAKING = frozenset({"none", "zero", "zeroize", "null", "0"})
"""Labels, in lower case, of operators that break an edge; numbered choices start with it."""

MAX_NODES = 7


@dataclass(frozen=True, slots=True)
class Cell:
    """A complete graph whose edges are the genes, those into the second node first.

    Attributes:
        edges: first and last node of each gene's edge.
        paths: genes of every path from the first node to the last.
        breaking: choice that breaks an edge.
        num_choices: of every gene.
    """

    edges: tuple[tuple[int, int], ...]
    paths: tuple[tuple[int, ...], ...]
    breaking: int
    num_choices: int

    @classmethod
    def of(cls, genes: Sequence[Gene]) -> Cell | None:
        """The cell that these genes may be; None where they cannot be one."""
        nodes = next((n for n in range(3, MAX_NODES + 1) if n * (n - 1) // 2 == len(genes)), None)
        options = genes[0].options
        if nodes is None or len(options) < 2 or any(gene.options != options for gene in genes):
            return None
        breaking = next((i for i, label in enumerate(options) if label.lower() in BREAKING), None)
        if breaking is None:
            return None
        edges = tuple((a, b) for b in range(nodes) for a in range(b))
        return cls(edges, tuple(_paths(edges, 0, nodes - 1)), breaking, len(options))

    def effective(self, genotypes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Genotypes with edges that lie on no whole path broken too."""
        used = np.zeros(genotypes.shape, dtype=np.bool_)
        for path in self.paths:
            whole = (genotypes[:, path] != self.breaking).all(axis=1)
            used[:, path] |= whole[:, None]
        return np.where(used, genotypes, self.breaking)

    def longest(self, genotypes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Largest number of edges with each choice on one whole path, as a share of the longest path."""
        found = np.zeros((len(genotypes), self.num_choices))
        for path in self.paths:
            edges = genotypes[:, path]
            whole = (edges != self.breaking).all(axis=1)
            for choice in range(self.num_choices):
                found[:, choice] = np.maximum(found[:, choice], (edges == choice).sum(axis=1) * whole)
        return found / max(len(path) for path in self.paths)


def _paths(edges: Sequence[tuple[int, int]], start: int, end: int) -> list[tuple[int, ...]]:
    if start == end:
        return [()]
    return [(i, *rest) for i, (a, b) in enumerate(edges) if a == start for rest in _paths(edges, b, end)]
