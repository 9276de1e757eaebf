"""One way to make any built-in algorithm from its settings."""

from __future__ import annotations

from typing import assert_never

from nas_engine.search.algorithm import SearchAlgorithm, SearchProblem
from nas_engine.search.algorithms.binned_evolution import BinnedEvolution
from nas_engine.search.algorithms.nsga2 import Nsga2
from nas_engine.search.algorithms.predictor_assisted import PredictorAssistedSearch
from nas_engine.search.algorithms.random_search import RandomSearch
from nas_engine.search.algorithms.scarlet import ScarletNsga2
from nas_engine.search.algorithms.spos_evolution import SposEvolution
from nas_engine.settings.algorithms import (
    AskTellSettings,
    BinnedEvolutionSettings,
    Nsga2Settings,
    PredictorAssistedSettings,
    RandomSearchSettings,
    ScarletNsga2Settings,
    SposEvolutionSettings,
)


def create_algorithm(settings: AskTellSettings, problem: SearchProblem, seed: int = 0) -> SearchAlgorithm:
    """Make the algorithm of `settings`.

    Args:
        settings: their type says which algorithm.
        problem: what is searched, for what; cheap constraints belong into its filter.
        seed: of the algorithm's own generator.

    Raises:
        EngineError: the algorithm cannot serve these objectives.
    """
    match settings:
        case RandomSearchSettings():
            return RandomSearch(problem, settings, seed)
        case Nsga2Settings():
            return Nsga2(problem, settings, seed)
        case ScarletNsga2Settings():
            return ScarletNsga2(problem, settings, seed)
        case SposEvolutionSettings():
            return SposEvolution(problem, settings, seed)
        case BinnedEvolutionSettings():
            return BinnedEvolution(problem, settings, seed)
        case PredictorAssistedSettings():
            return PredictorAssistedSearch(problem, settings, seed)
        case _:
            assert_never(settings)
