"""SPOS's evolution keeps the invariants of the reference run (vectors/spos_evolution_trace.json)."""

from __future__ import annotations

from functools import cache

import pytest

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.algorithms.spos_evolution import SposEvolution
from nas_engine.search.cheap_filter import GraphFilter, MetricFilter
from nas_engine.settings.algorithms import SposEvolutionSettings
from nas_engine.spaces.registry import create_space
from tests.support.fakes.space import StagedSpace
from tests.support.reference import vectors

TRACE = vectors("spos_evolution_trace")
TABLE = vectors("spos_macs_table")
LIMIT = float(TRACE["hyper"]["flops_limit"])
ACCURACY = (Objective(TOP1, Goal.MAXIMIZE),)


def macs(genotype: Genotype) -> float:
    """By the reference's own table."""
    return float(
        sum(TABLE["fixed_macs"].values())
        + sum(row[choice] for row, choice in zip(TABLE["macs_per_layer_op"], genotype, strict=True))
    )


def error(genotype: Genotype) -> float:
    """The trace's synthetic error: 0.3 + sum_i W[i][arch[i]] / 100, W[i][o] = ((7i + 13o) mod 17) / 17."""
    return 0.3 + sum(((7 * i + 13 * o) % 17) / 17 for i, o in enumerate(genotype)) / 100


@cache
def run(seed: int) -> tuple[tuple[tuple[Genotype, ...], ...], SposEvolution]:
    """The reference's 1 + 20 generations."""
    cheap = MetricFilter(lambda g: {MACS: macs(g)}, [Constraint(MACS, maximum=LIMIT)])
    problem = SearchProblem(space=create_space("spos"), objectives=ACCURACY, cheap_filter=cheap)
    algorithm = SposEvolution(problem, SposEvolutionSettings(), seed)
    generations = []
    for _ in range(21):
        batch = algorithm.ask(algorithm.batch_size)
        algorithm.tell([Observation(genotype=g, objectives={TOP1: 1.0 - error(g)}) for g in batch])
        generations.append(tuple(batch))
    return tuple(generations), algorithm


def test_the_trace_and_the_space_agree_on_macs() -> None:
    cheap = GraphFilter(create_space("spos"), [])
    top = TRACE["runs"][0]["top5"][0]
    assert cheap.metrics(tuple(top["arch"]))[MACS] == macs(tuple(top["arch"])) == top["macs"]
    assert error(tuple(top["arch"])) == pytest.approx(top["err"])


@pytest.mark.parametrize("seed", [0, 1])
def test_evaluates_as_many_distinct_candidates_as_the_reference_all_within_the_limit(seed: int) -> None:
    generations, _ = run(seed)
    evaluated = [genotype for generation in generations for genotype in generation]
    assert len(set(evaluated)) == len(evaluated) == TRACE["runs"][seed]["n_evaluated"] == 1050
    assert {len(generation) for generation in generations} == {50}
    assert all(macs(genotype) <= LIMIT for genotype in evaluated)


@pytest.mark.parametrize("seed", [0, 1])
def test_finds_an_architecture_as_good_as_the_reference_runs(seed: int) -> None:
    generations, _ = run(seed)
    best = min(error(genotype) for generation in generations for genotype in generation)
    reference = [run["top5"][0]["err"] for run in TRACE["runs"]]
    first = min(error(genotype) for genotype in generations[0])
    # The reference's own runs differ by seed; allow as much again around their range.
    slack = max(0.005, max(reference) - min(reference))
    assert best <= max(reference) + slack
    assert best < first - 0.02


def test_parents_are_elitist_over_all_generations() -> None:
    generations, algorithm = run(0)
    everything = sorted(error(genotype) for generation in generations for genotype in generation)
    assert [error(parent) for parent in algorithm.parents()] == pytest.approx(everything[:10])


def test_half_of_a_generation_are_mutants_and_half_are_crossed() -> None:
    problem = SearchProblem(space=create_space("spos"), objectives=ACCURACY)
    algorithm = SposEvolution(problem, SposEvolutionSettings(), 3)
    first = algorithm.ask(50)
    algorithm.tell([Observation(genotype=g, objectives={TOP1: 1.0 - error(g)}) for g in first])
    parents = algorithm.parents()
    second = algorithm.ask(50)
    distances = [min(sum(a != b for a, b in zip(g, p, strict=True)) for p in parents) for g in second[:25]]
    # 20 genes x 0.1 x 3/4 = 1.5 changes on average.
    assert 0.8 < sum(distances) / 25 < 2.6
    assert all(all(any(p[i] == g[i] for p in parents) for i in range(20)) for g in second[25:])


def test_needs_exactly_one_objective() -> None:
    problem = SearchProblem(space=StagedSpace(), objectives=(*ACCURACY, Objective(MACS, Goal.MINIMIZE)))
    with pytest.raises(EngineError, match="one objective"):
        SposEvolution(problem, SposEvolutionSettings(), 0)
