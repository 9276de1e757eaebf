"""One way to make any built-in algorithm from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from nas_engine.domain.objective import Constraint, Objective
from nas_engine.domain.search_space import SearchSpace
from nas_engine.search.algorithm import CheapFilter, SearchAlgorithm, SearchProblem, accept_all
from nas_engine.search.algorithms.binned_evolution import BinnedEvolution
from nas_engine.search.algorithms.nsga2 import Nsga2
from nas_engine.search.algorithms.predictor_assisted import PredictorAssistedSearch
from nas_engine.search.algorithms.random_search import RandomSearch
from nas_engine.search.algorithms.scarlet import ScarletNsga2
from nas_engine.search.algorithms.spos_evolution import SposEvolution
from nas_engine.search.config import (
    AlgorithmConfig,
    BinnedEvolutionConfig,
    Nsga2Config,
    PredictorAssistedConfig,
    RandomSearchConfig,
    ScarletConfig,
    SposEvolutionConfig,
)


def create_algorithm(
    config: AlgorithmConfig,
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint] = (),
    cheap_filter: CheapFilter = accept_all,
    seed: int = 0,
) -> SearchAlgorithm:
    """The algorithm of `config`.

    Args:
        config: settings; their type says which algorithm.
        space: what is searched.
        objectives: what for.
        constraints: bounds on told metrics; cheap ones belong into `cheap_filter`.
        cheap_filter: refuses genotypes before they are asked.
        seed: of the algorithm's own generator.

    Raises:
        EngineError: the algorithm cannot serve these objectives.
    """
    problem = SearchProblem(
        space=space, objectives=tuple(objectives), constraints=tuple(constraints), cheap_filter=cheap_filter
    )
    match config:
        case RandomSearchConfig():
            return RandomSearch(problem, config, seed)
        case Nsga2Config():
            return Nsga2(problem, config, seed)
        case ScarletConfig():
            return ScarletNsga2(problem, config, seed)
        case SposEvolutionConfig():
            return SposEvolution(problem, config, seed)
        case BinnedEvolutionConfig():
            return BinnedEvolution(problem, config, seed)
        case PredictorAssistedConfig():
            return PredictorAssistedSearch(problem, config, seed)
        case _:
            assert_never(config)
