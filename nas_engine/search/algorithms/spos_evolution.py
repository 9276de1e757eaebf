"""SPOS's single-objective evolution (Guo et al. 2020, Algorithm 1; order of steps as its published search code)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.base import BaseSearchAlgorithm
from nas_engine.search.variation.crossover import StageBlockCrossover
from nas_engine.search.variation.mutation import PerGeneMutation
from nas_engine.settings.algorithms import SposEvolutionSettings

TRIES_PER_CHILD = 10
"""A reference bound: mutation and crossover are tried at most 10 times per child they are to give."""


class SposEvolution(BaseSearchAlgorithm):
    """Mutates and crosses the best candidates so far; the rest of a generation is random.

    The parents are the best `num_parents` of everything told (elitist over all generations). Unlike the published
    code, the last generation counts too, and a checkpoint exists at any time.
    """

    def __init__(self, problem: SearchProblem, settings: SposEvolutionSettings, seed: int) -> None:
        """See class.

        Raises:
            EngineError: not exactly one objective.
        """
        if len(problem.objectives) != 1:
            names = ", ".join(objective.name for objective in problem.objectives)
            raise EngineError(
                f"SPOS's evolution optimises one objective, given {names}: bound the others as constraints"
            )
        super().__init__(problem, settings.identity(), seed)
        self._settings = settings
        self._mutation = PerGeneMutation(self.encoding, settings.gene_mutation_probability, always_different=False)
        self._crossover = StageBlockCrossover(self.encoding, block_probability=0.0)

    @property
    def batch_size(self) -> int:
        """Candidates of one generation."""
        return self._settings.population_size

    @property
    def survivors(self) -> tuple[Genotype, ...]:
        """Return the parents of the next generation: the best candidates so far."""
        return tuple(self.parents())

    def parents(self) -> list[Genotype]:
        """The best candidates told so far, best first; feasible ones before the others, ties in the order told."""
        ranked = sorted(self.archive.results, key=lambda t: (self.problem.violation(t), self.problem.minimized(t)))
        return [observation.genotype for observation in ranked[: self._settings.num_parents]]

    def _propose(self, num: int) -> list[Genotype]:
        parents = self.parents()
        batch: list[Genotype] = []
        if parents:
            size = self._settings.population_size
            # A smaller ask (the end of a budget) keeps the shares of a full generation.
            num_mutation = round(num * self._settings.num_mutation / size)
            num_crossover = min(num - num_mutation, round(num * self._settings.num_crossover / size))
            batch += self._children(num_mutation, lambda: self._mutation(self._pick(parents), self._rng))
            # Both parents are drawn with replacement; gene by gene from either (reference).
            batch += self._children(
                num_crossover, lambda: self._crossover(self._pick(parents), self._pick(parents), self._rng)[0]
            )
        return batch + self.ledger.immigrants(num - len(batch), self._rng)

    def _children(self, num: int, make: Callable[[], Genotype]) -> list[Genotype]:
        children: list[Genotype] = []
        for _ in range(TRIES_PER_CHILD * num):
            if len(children) >= num:
                break
            child = make()
            if self.ledger.admit(child):
                children.append(child)
        return children

    def _pick(self, parents: Sequence[Genotype]) -> Genotype:
        return parents[int(self._rng.integers(len(parents)))]

    def _absorb(self, results: Sequence[Observation]) -> None:
        del results
        self._generation += 1
