"""Search specs in the engine's own terms: the algorithm, what it is told, what it may not ask."""

from __future__ import annotations

from typing import assert_never

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.errors import SearchStateError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.objective import Metric
from nas_engine.domain.search_space import SearchSpace
from nas_engine.export.operators import npu_fallbacks
from nas_engine.search.algorithm import SearchAlgorithm, SearchProblem, Told
from nas_engine.search.cheap_filter import filter_of
from nas_engine.search.config import (
    AlgorithmConfig,
    BinnedEvolutionConfig,
    ConstraintHandling,
    Nsga2Config,
    PredictorAssistedConfig,
    PredictorKind,
    RandomSearchConfig,
    ScarletConfig,
    SposEvolutionConfig,
    VariationConfig,
)
from nas_engine.search.factory import create_algorithm
from nas_engine.settings.algorithms import (
    AlgorithmSpec,
    BinnedEvolutionAlgorithm,
    CostReportAlgorithm,
    DenseNasAlgorithm,
    Nsga2Algorithm,
    PredictorAssistedAlgorithm,
    RandomAlgorithm,
    ScarletNsga2Algorithm,
    SposEvolutionAlgorithm,
)
from server.candidates.candidate import Evaluation
from server.candidates.spec import SearchSpec
from server.candidates.states import CandidateState
from server.searches.step import FinishedCandidate


def algorithm_of(spec: SearchSpec, space: SearchSpace) -> SearchAlgorithm:
    """The algorithm of a spec, before its first step; cheap constraints become its filter."""
    problem = problem_of(spec, space)
    return create_algorithm(
        config_of(spec.algorithm, spec.domain_dominance),
        space,
        problem.objectives,
        problem.constraints,
        problem.cheap_filter,
        seed=spec.seed,
    )


def problem_of(spec: SearchSpec, space: SearchSpace) -> SearchProblem:
    """What is searched for; cheap constraints become the filter."""
    constraints = spec.domain_constraints()
    unsupported = _left_to_cpu if spec.device is not None and spec.device.npu_only else None
    cheap = tuple(c for c in constraints if c.metric.cheap)
    return SearchProblem(
        space=space,
        objectives=spec.domain_objectives(),
        constraints=tuple(c for c in constraints if not c.metric.cheap),
        cheap_filter=filter_of(space, cheap, unsupported),
    )


def told_of(finished: FinishedCandidate, spec: SearchSpec) -> Told | None:
    """What the algorithm is told of a finished candidate; None for one that failed by our fault."""
    candidate = finished.candidate
    match candidate.state:
        case CandidateState.COMPLETE:
            return Told(
                genotype=candidate.genotype,
                objectives={metric: candidate.values[metric] for metric in _metrics(spec)},
                uncertainty=_uncertainty(finished.evaluations),
            )
        case CandidateState.INFEASIBLE:
            return Told(genotype=candidate.genotype, objectives={}, violations={candidate.reason or "infeasible": 1.0})
        case _:
            return None


def _left_to_cpu(graph: LayerGraph) -> tuple[str, ...]:
    return tuple(fallback.node for fallback in npu_fallbacks(graph))


def _metrics(spec: SearchSpec) -> tuple[Metric, ...]:
    told = [o.metric for o in spec.domain_objectives()]
    told += [c.metric for c in spec.domain_constraints() if not c.metric.cheap]
    return tuple(dict.fromkeys(told))


def _uncertainty(evaluations: tuple[Evaluation, ...]) -> dict[Metric, float]:
    newest: dict[Metric, Evaluation] = {}
    for evaluation in sorted(evaluations, key=lambda e: e.attempt):
        newest[evaluation.metric] = evaluation
    return {m: e.uncertainty for m, e in newest.items() if e.uncertainty is not None and m is not Metric.TEST_TOP1}


def config_of(algorithm: AlgorithmSpec, dominance: Dominance = Dominance.POINT) -> AlgorithmConfig:
    """The engine's settings of an algorithm."""
    match algorithm:
        case RandomAlgorithm(batch_size=batch_size):
            return RandomSearchConfig(batch_size=batch_size)
        case Nsga2Algorithm() as own:
            return _nsga2(own, dominance)
        case ScarletNsga2Algorithm() as own:
            return ScarletConfig(
                population_size=own.population_size,
                mutation_ratio=own.mutation_ratio,
                p_random=own.p_random,
                p_reinforced=own.p_reinforced,
                p_prior=own.p_prior,
                p_known=own.p_known,
                max_rejections=own.max_rejections,
                dominance=dominance,
            )
        case SposEvolutionAlgorithm() as own:
            return SposEvolutionConfig(
                population_size=own.population_size,
                num_parents=own.num_parents,
                num_mutation=own.num_mutation,
                num_crossover=own.num_crossover,
                gene_mutation_probability=own.gene_mutation_probability,
            )
        case BinnedEvolutionAlgorithm() as own:
            return BinnedEvolutionConfig(
                bin_metric=Metric.from_label(own.bin_metric),
                bin_width=own.bin_width,
                population_size=own.population_size,
                num_mutation=own.num_mutation,
                num_crossover=own.num_crossover,
                gene_mutation_probability=own.gene_mutation_probability,
                include_first=own.include_first,
            )
        case PredictorAssistedAlgorithm() as own:
            return PredictorAssistedConfig(
                num_initial=own.num_initial,
                num_chosen=own.num_chosen,
                predictor=PredictorKind(own.predictor),
                inner_population=own.inner_population,
                inner_generations=own.inner_generations,
                exploration=own.exploration,
            )
        case DenseNasAlgorithm():
            raise SearchStateError("densenas trains a supernet: server.searches.worker.densenas makes it")
        case CostReportAlgorithm():
            raise SearchStateError("a report of a latency table is no search: POST /api/v1/latency-tables/{id}/reports")
        case _:
            assert_never(algorithm)


def _nsga2(own: Nsga2Algorithm, dominance: Dominance) -> Nsga2Config:
    return Nsga2Config(
        population_size=own.population_size,
        num_offspring=own.num_offspring,
        variation=VariationConfig(
            crossover_probability=own.crossover_probability,
            block_probability=own.block_probability,
            mutation_probability=own.mutation_probability,
            structural_probability=own.structural_probability,
            mean_leaves=own.mean_leaves,
        ),
        constraint_handling=ConstraintHandling(own.constraint_handling),
        dominance=dominance,
    )
