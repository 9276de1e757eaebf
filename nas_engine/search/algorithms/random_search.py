"""Uniform random search behind the same protocol: the baseline every other algorithm is judged against."""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.domain.architecture import Genotype
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.base import BaseSearchAlgorithm
from nas_engine.settings.algorithms import RandomSearchSettings


class RandomSearch(BaseSearchAlgorithm):
    """Draws admissible genotypes uniformly, gene by gene, without repeating any."""

    def __init__(self, problem: SearchProblem, settings: RandomSearchSettings, seed: int) -> None:
        super().__init__(problem, settings.identity(), seed)
        self._settings = settings

    @property
    def batch_size(self) -> int:
        """Random search has no generations; this is only how many are worth asking at once."""
        return self._settings.batch_size

    def _propose(self, num: int) -> list[Genotype]:
        return self.ledger.immigrants(num, self._rng)

    def _absorb(self, results: Sequence[Observation]) -> None:
        del results
        self._generation = len(self.archive) // self._settings.batch_size
