"""Searches in the engine's own terms: what is searched for, and what the algorithm is told."""

from __future__ import annotations

from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import TEST_TOP1, is_cheap
from nas_engine.domain.search_space import SearchSpace
from nas_engine.export.operators import npu_fallbacks
from nas_engine.search.algorithm import Observation, SearchAlgorithm, SearchProblem
from nas_engine.search.amending import reconsider
from nas_engine.search.cheap_filter import filter_of
from server.candidates.candidate import Candidate
from server.candidates.spec import SearchSpec
from server.candidates.states import CandidateState
from server.searches.steps.step import FinishedCandidate, StepInput


def search_problem(spec: SearchSpec, space: SearchSpace) -> SearchProblem:
    """What is searched for; cheap constraints become the filter."""
    constraints = spec.domain_constraints()
    wanted = spec.metrics()
    is_npu_only = any(one.device.npu_only for one in spec.all_boards() if one.is_own_device or one.metric in wanted)
    unsupported = _left_to_cpu if is_npu_only else None
    cheap = tuple(c for c in constraints if is_cheap(c.metric))
    return SearchProblem(
        space=space,
        objectives=spec.domain_objectives(),
        constraints=tuple(c for c in constraints if not is_cheap(c.metric)),
        cheap_filter=filter_of(
            space,
            cheap,
            unsupported,
            wanted=tuple(metric for metric in spec.metrics() if is_cheap(metric)),
            settings=spec.metric_settings(),
        ),
        dominance=spec.dominance,
    )


def to_observation(finished: FinishedCandidate, spec: SearchSpec) -> Observation | None:
    """What the algorithm is told of a finished candidate; None for one that failed by our fault."""
    candidate = finished.candidate
    match candidate.state:
        case CandidateState.COMPLETE:
            unneeded = {board.metric for board in spec.measured_boards()} - set(spec.metrics())
            evaluations = [e for e in sorted(finished.evaluations, key=lambda e: e.attempt) if e.metric not in unneeded]
            newest = {e.metric: e.uncertainty for e in evaluations}
            return Observation(
                genotype=candidate.genotype,
                objectives={metric: candidate.values[metric] for metric in _metrics(spec)},
                uncertainty={m: u for m, u in newest.items() if u is not None and m != TEST_TOP1},
                violations=_cheap_violations(candidate, spec),
            )
        case CandidateState.INFEASIBLE:
            return Observation(
                genotype=candidate.genotype, objectives={}, violations={candidate.reason or "infeasible": 1.0}
            )
        case _:
            return None


def observe(algorithm: SearchAlgorithm, given: StepInput) -> None:
    """Tell the algorithm everything that is new.

    A search that shifts its supernet and compares within one version first withdraws what was not scored with the
    current one: of those told earlier, the survivors that were scored again remain, with their new accuracies, before
    the newcomers are compared with them. Where constraints were amended, all that was told is revised by them first.
    """
    spec, current_accuracies = given.search.spec, given.current_accuracies
    if current_accuracies is not None:
        algorithm.withdraw(
            [
                observation.genotype
                for observation in algorithm.results
                if observation.genotype not in current_accuracies.genotypes
            ]
        )
    revised = [observation for finished in given.revised if (observation := to_observation(finished, spec)) is not None]
    if current_accuracies is not None:  # a latency that was measured again may be of a candidate that was withdrawn
        revised = [observation for observation in revised if observation.genotype in current_accuracies.genotypes]
    if given.amended:
        kept = {observation.genotype for observation in algorithm.results}
        reconsider(algorithm, [observation for observation in revised if observation.genotype in kept])
    elif revised:
        algorithm.revise(revised)
    results = [
        observation for finished in given.finished if (observation := to_observation(finished, spec)) is not None
    ]
    if results:
        algorithm.tell(results)


def _cheap_violations(candidate: Candidate, spec: SearchSpec) -> dict[str, float]:
    """By how much a candidate misses cheap constraints: those that were amended after it was asked, else it was not."""
    values = candidate.values
    missed = {
        constraint.metric.name: constraint.violation(values[constraint.metric])
        for constraint in spec.domain_constraints()
        if is_cheap(constraint.metric) and constraint.metric in values
    }
    return {name: amount for name, amount in missed.items() if amount > 0}


def _left_to_cpu(graph: LayerGraph) -> tuple[str, ...]:
    return tuple(fallback.node for fallback in npu_fallbacks(graph))


def _metrics(spec: SearchSpec) -> tuple[Metric, ...]:
    wanted = [o.metric for o in spec.domain_objectives()]
    wanted += [c.metric for c in spec.domain_constraints() if not is_cheap(c.metric)]
    return tuple(dict.fromkeys(wanted))
