"""Which procedure serves which kind of search."""

from __future__ import annotations

from nas_engine.domain.search_space import SearchSpace
from nas_engine.search.factory import create_algorithm
from nas_engine.settings.densenas import DenseNasSettings
from server.candidates.spec import SearchSpec
from server.searches.worker.derivation_procedure import DerivationProcedure
from server.searches.worker.engine_terms import search_problem
from server.searches.worker.evaluating_procedure import EvaluatingProcedure
from server.searches.worker.procedure import Procedure


def create_procedure(spec: SearchSpec, space: SearchSpace) -> Procedure:
    """Make the procedure of a spec, as it is before its first step.

    Raises:
        InvalidSpaceError: the space is none that this kind searches.
        PluginError: no installed package brings its algorithm, or it cannot be used.
    """
    match spec.algorithm:
        case DenseNasSettings() as settings:
            return DerivationProcedure(spec, settings, space)
        case settings:
            return EvaluatingProcedure(create_algorithm(settings, search_problem(spec, space), spec.seed))
