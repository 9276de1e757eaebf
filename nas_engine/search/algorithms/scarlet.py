"""SCARLET-NAS's constrained, weighted NSGA-II (arXiv 1908.06022, Algorithm 1).

P0 and Q0 are drawn uniformly, all of them feasible. Cheap constraints are checked first, inside offspring generation;
candidates that miss a constraint on a told metric (accuracy) never enter the population, and a generation is asked on
until it is full. Children are crossed or mutated, as the text unites both; mutation is the two-level categorical of
Table 1. The crowding distance is weighted by the objectives' weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nas_engine.domain.architecture import Genotype
from nas_engine.search.algorithm import SearchProblem
from nas_engine.search.algorithms.nsga2 import Nsga2
from nas_engine.search.pareto import equispaced
from nas_engine.search.variation.operator_protocols import Mutation
from nas_engine.search.variation.two_level_mutation import (
    GuidedMutation,
    MutationLevel,
    PriorMutation,
    RandomMutation,
    ReinforcedMutation,
    TwoLevelMutation,
)
from nas_engine.settings.algorithms import ConstraintHandling, Nsga2Settings, ScarletNsga2Settings


class ScarletNsga2(Nsga2):
    """NSGA-II with SCARLET's constraint handling, weights and mutation, which picks K equispaced models."""

    CROSSES_OR_MUTATES = True

    def __init__(
        self,
        problem: SearchProblem,
        settings: ScarletNsga2Settings,
        seed: int,
        operators: Mapping[MutationLevel, GuidedMutation] | None = None,
    ) -> None:
        """See class.

        Args:
            problem: what is searched.
            settings: of the algorithm.
            seed: of the generator.
            operators: in place of the built-in operators of these levels; must be functions of their arguments.
        """
        self._scarlet = settings
        self._own_operators = dict(operators or {})
        base = Nsga2Settings(
            population_size=settings.population_size,
            mutation_probability=settings.mutation_ratio,
            constraint_handling=ConstraintHandling.REJECT,
            max_rejections=settings.max_rejections,
        )
        super().__init__(problem, base, seed, declared=settings)

    @property
    def _initial_sample(self) -> int:
        """P0 and Q0: N candidates each, of which the first N survive."""
        return 2 * self._scarlet.population_size

    def _advance(self, genotypes: Sequence[Genotype]) -> None:
        is_first = not self._pymoo.is_initialized
        super()._advance(genotypes)
        if is_first:
            self._keep_best(self._scarlet.population_size)

    def pick_models(self, front: Sequence[Sequence[float]]) -> tuple[int, ...] | None:
        """As many equispaced ones as its settings want."""
        if self._scarlet.num_models is None:
            return None
        return tuple(equispaced(front, self._scarlet.num_models)) if front else ()

    def _make_mutation(self) -> Mutation:
        natural = super()._make_mutation()
        built_in: dict[MutationLevel, GuidedMutation] = {
            MutationLevel.RANDOM: RandomMutation(natural),
            MutationLevel.REINFORCED: ReinforcedMutation(self.problem, self.encoding, lambda: self.archive, natural),
            MutationLevel.PRIOR: PriorMutation(self.problem, self.problem.cheap_filter, natural),
        }
        probabilities = {
            MutationLevel.RANDOM: self._scarlet.p_random,
            MutationLevel.REINFORCED: self._scarlet.p_reinforced,
            MutationLevel.PRIOR: self._scarlet.p_prior,
        }
        return TwoLevelMutation({**built_in, **self._own_operators}, probabilities, self._scarlet.p_known)
