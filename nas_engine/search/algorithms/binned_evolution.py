"""AttentiveNAS-style evolution: the best candidate of each cost bin breeds (Wang et al. 2021, facts of its search)."""

from __future__ import annotations

from collections.abc import Sequence

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.metrics import metric_named
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.base import BaseSearchAlgorithm
from nas_engine.search.variation.crossover import StageBlockCrossover
from nas_engine.search.variation.mutation import PerGeneMutation
from nas_engine.settings.algorithms import BinnedEvolutionSettings

TRIES_PER_CHILD = 50
"""Tries per child until it lies in the cheap constraints' range and is new; then random candidates fill up."""


class BinnedEvolution(BaseSearchAlgorithm):
    """Keeps the best of every bin of one objective; mutates and crosses these, generation by generation."""

    def __init__(self, problem: SearchProblem, settings: BinnedEvolutionSettings, seed: int) -> None:
        """See class.

        Raises:
            EngineError: not two objectives, or the binned metric is not one of them.
        """
        metrics = [objective.metric for objective in problem.objectives]
        self._bin_metric = metric_named(settings.bin_metric)
        if len(metrics) != 2 or self._bin_metric not in metrics:
            names = ", ".join(metric.name for metric in metrics)
            raise EngineError(
                f"binned evolution needs two objectives, one of them {settings.bin_metric}; given are {names}"
            )
        super().__init__(problem, settings.identity(), seed)
        self._settings = settings
        self._quality = next(o for o in problem.objectives if o.metric != self._bin_metric)
        self._mutation = PerGeneMutation(self.encoding, settings.gene_mutation_probability, always_different=True)
        self._crossover = StageBlockCrossover(self.encoding, block_probability=0.0)
        if settings.include_first:
            # Where a constraint refuses the smallest network, the search starts without it, as from any warm start.
            self.ledger.enqueue([(0,) * len(self.encoding.num_choices)])

    @property
    def batch_size(self) -> int:
        """The initial sample until it is told, then the children of one generation."""
        left = self._settings.population_size - self.num_observed
        return left if left > 0 else self._settings.num_mutation + self._settings.num_crossover

    @property
    def survivors(self) -> tuple[Genotype, ...]:
        """The best of every bin."""
        return tuple(observation.genotype for observation in self.best_per_bin().values())

    def best_per_bin(self) -> dict[int, Observation]:
        """Bin number (value / width, rounded) to its best feasible candidate; ties keep the earlier one."""
        best: dict[int, Observation] = {}
        for observation in self.archive.feasible():
            number = round(observation.objectives[self._bin_metric] / self._settings.bin_width)
            if number not in best or self._value(observation) < self._value(best[number]):
                best[number] = observation
        return best

    def _value(self, observation: Observation) -> float:
        return self._quality.minimized(observation.objectives[self._quality.metric])

    def _propose(self, num: int) -> list[Genotype]:
        parents = [observation.genotype for observation in self.best_per_bin().values()]
        initial = len(self.ledger.asked) < self._settings.population_size
        batch = [] if initial or not parents else self._children(parents, num)
        return batch + self.ledger.immigrants(num - len(batch), self._rng)

    def _children(self, parents: Sequence[Genotype], num: int) -> list[Genotype]:
        share = self._settings.num_mutation / (self._settings.num_mutation + self._settings.num_crossover)
        num_mutation = round(num * share)
        children: list[Genotype] = []
        for _ in range(TRIES_PER_CHILD * num):
            if len(children) >= num:
                break
            first, second = (parents[int(self._rng.integers(len(parents)))] for _ in range(2))
            if len(children) < num_mutation:
                child = self._mutation(first, self._rng)
            else:
                child = self._crossover(first, second, self._rng)[0]
            if self.ledger.admit(child):
                children.append(child)
        return children

    def _absorb(self, results: Sequence[Observation]) -> None:
        del results
        if self.num_observed >= self._settings.population_size:
            self._generation += 1
