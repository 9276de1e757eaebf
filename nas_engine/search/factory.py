"""One way to make any algorithm that asks and is told, from its settings."""

from __future__ import annotations

from typing import cast

from nas_engine.domain.errors import SearchStateError
from nas_engine.domain.plugins.declarations import AlgorithmDeclaration, AlgorithmForm
from nas_engine.domain.plugins.door_survey import resolved
from nas_engine.domain.plugins.doors import Door
from nas_engine.domain.plugins.guard import Guard
from nas_engine.search.algorithm import SearchAlgorithm, SearchProblem
from nas_engine.search.brought import BroughtAlgorithm
from nas_engine.settings.base import ProposingSettings
from nas_engine.settings.kinds.algorithms import BroughtAlgorithmSettings, declared_algorithms
from nas_engine.settings.kinds.declared import read_settings


def create_algorithm(settings: ProposingSettings, problem: SearchProblem, seed: int = 0) -> SearchAlgorithm:
    """Make the algorithm of `settings`.

    Args:
        settings: their kind says which algorithm.
        problem: what is searched, for what; cheap constraints belong into its filter.
        seed: of the algorithm's own generator.

    Raises:
        EngineError: the algorithm cannot serve these objectives.
        PluginError: no installed package brings it, or it cannot be used.
    """
    found = declared_algorithms().get(settings.kind)
    if found.declaration.form is not AlgorithmForm.ASK_TELL:
        raise SearchStateError(f"{settings.kind} does not ask and is not told: it is run otherwise")
    if not isinstance(settings, BroughtAlgorithmSettings):
        return cast(SearchAlgorithm, found.declaration.resolve()(problem, settings, seed))
    values = read_settings(found.declaration, settings.given())
    guard = Guard(found)
    make = resolved(Door.ALGORITHMS, AlgorithmDeclaration, found)
    algorithm = guard.call("making it", lambda: make(problem, values, seed))
    return BroughtAlgorithm(algorithm, problem, guard)
