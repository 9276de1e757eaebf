"""Hill climbing: each candidate is a neighbour of a member of the front; the first ones are drawn."""

from __future__ import annotations

from collections.abc import Sequence

from hilnas_hill_climb import HillClimbSettings

from nas_engine.domain.architecture import Genotype
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.base import BaseSearchAlgorithm

TRIES = 100  # for each neighbour, before a random candidate takes its place


class HillClimb(BaseSearchAlgorithm):
    """The base keeps what was asked and told, its checkpoint and the random numbers; this says what is asked next."""

    def __init__(self, problem: SearchProblem, settings: HillClimbSettings, seed: int) -> None:
        super().__init__(problem, {"kind": "hill_climb", **settings.model_dump()}, seed)
        self._settings = settings

    @property
    def batch_size(self) -> int:
        return self._settings.batch_size

    def _propose(self, num: int) -> list[Genotype]:
        front = [observation.genotype for observation in self.front()]
        proposed: list[Genotype] = []
        for _ in range(num * TRIES if front else 0):
            neighbour = self._neighbour(front[int(self._rng.integers(len(front)))])
            if len(proposed) < num and self.ledger.admit(neighbour):
                proposed.append(neighbour)
        return proposed + self.ledger.immigrants(num - len(proposed), self._rng)

    def _neighbour(self, genotype: Genotype) -> Genotype:
        changed = list(genotype)
        for position in self._rng.choice(len(changed), self._settings.num_changes, replace=False):
            changed[position] = int(self._rng.integers(self.encoding.num_choices[position]))
        return self.problem.space.canonical(changed)

    def _absorb(self, results: Sequence[Observation]) -> None:
        del results  # they are in the archive, which the front is taken from
        self._generation += 1
