"""SCARLET-NAS's constrained, weighted NSGA-II (arXiv 1908.06022, Algorithm 1).

Cheap constraints are checked first, inside offspring generation; candidates that miss a constraint on a told metric
(accuracy) never enter the population, and a generation is asked on until it is full. The crowding distance is weighted
by the objectives' weights; mutation is the two-level categorical of Table 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from nas_engine.search.algorithm import SearchProblem
from nas_engine.search.algorithms.nsga2 import Nsga2
from nas_engine.search.config import ConstraintHandling, Nsga2Config, ScarletConfig, VariationConfig
from nas_engine.search.variation.mutation import HierarchicalMutation
from nas_engine.search.variation.operator_protocols import Mutation
from nas_engine.search.variation.two_level_mutation import (
    GuidedMutation,
    MutationLevel,
    PriorMutation,
    RandomMutation,
    ReinforcedMutation,
    TwoLevelMutation,
)


class ScarletNsga2(Nsga2):
    """NSGA-II with SCARLET's constraint handling, weights and mutation. `pareto.equispaced` picks its K models."""

    def __init__(
        self,
        problem: SearchProblem,
        config: ScarletConfig,
        seed: int,
        operators: Mapping[MutationLevel, GuidedMutation] | None = None,
    ) -> None:
        """See class.

        Args:
            problem: what is searched.
            config: settings.
            seed: of the generator.
            operators: in place of the built-in operators of these levels; must be functions of their arguments.
        """
        self._scarlet = config
        self._own_operators = dict(operators or {})
        base = Nsga2Config(
            population_size=config.population_size,
            variation=VariationConfig(mutation_probability=config.mutation_ratio),
            constraint_handling=ConstraintHandling.REJECT,
            max_rejections=config.max_rejections,
            dominance=config.dominance,
        )
        super().__init__(problem, base, seed, declared=config)

    def _make_mutation(self) -> Mutation:
        natural = HierarchicalMutation(self.encoding, self._config.variation)
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
