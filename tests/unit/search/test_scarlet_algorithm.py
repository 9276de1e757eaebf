"""Algorithm 1 of SCARLET-NAS: P0 and Q0 uniform and feasible, children crossed or mutated, rejected ones replaced."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.search.algorithm import SearchProblem
from nas_engine.search.algorithms.scarlet import ScarletNsga2
from nas_engine.search.variation.two_level_mutation import Guide, GuidedMutation, MutationLevel
from nas_engine.settings.algorithms import ScarletNsga2Settings
from tests.support.fakes.space import MacsBelow, StagedSpace, tell_all

SPACE = StagedSpace()
N = 10


def made(*constraints: Constraint, operators: Mapping[MutationLevel, GuidedMutation] | None = None) -> ScarletNsga2:
    problem = SearchProblem(
        space=SPACE,
        objectives=(Objective(TOP1, Goal.MAXIMIZE), Objective(MACS, Goal.MINIMIZE)),
        constraints=constraints,
        cheap_filter=MacsBelow(SPACE, 120.0),
    )
    return ScarletNsga2(problem, ScarletNsga2Settings(population_size=N), 3, operators)


def generation(algorithm: ScarletNsga2) -> list[Genotype]:
    """Ask until a generation is complete."""
    asked: list[Genotype] = []
    before = algorithm.generation
    while algorithm.generation == before:
        batch = algorithm.ask(algorithm.batch_size)
        algorithm.tell(tell_all(SPACE, batch))
        asked += batch
    return asked


def test_the_first_generation_is_p0_and_q0_of_which_n_survive() -> None:
    algorithm = made()
    assert algorithm.batch_size == 2 * N
    first = generation(algorithm)
    assert len(first) == 2 * N
    assert len(algorithm.population) == N
    assert set(algorithm.population) <= set(first)
    best = {observation.genotype for observation in algorithm.front()}
    assert best & set(algorithm.population) == (best if len(best) <= N else set(algorithm.population))
    assert algorithm.batch_size == N


def test_p0_and_q0_hold_no_candidate_that_misses_the_accuracy() -> None:
    found = generation(made())
    accuracies = [observation.objectives[TOP1] for observation in tell_all(SPACE, found)]
    threshold = float(np.median(accuracies))
    algorithm = made(Constraint(TOP1, minimum=threshold))
    first = generation(algorithm)
    assert len(first) > 2 * N  # rejected ones were replaced
    kept = [o for o in tell_all(SPACE, first) if o.objectives[TOP1] >= threshold]
    assert len(kept) >= 2 * N
    assert all(o.objectives[TOP1] >= threshold for o in tell_all(SPACE, list(algorithm.population)))


def test_a_child_is_crossed_or_mutated_in_the_ratio_and_never_both() -> None:
    marker = tuple(-1 for _ in SPACE.genes)  # of no space: a cross of two parents cannot be it
    seen: list[Genotype] = []

    def marked(genotype: Genotype, guide: Guide, rng: np.random.Generator) -> Genotype:
        del guide, rng
        seen.append(genotype)
        return marker

    algorithm = made(operators=dict.fromkeys(MutationLevel, marked))
    generation(algorithm)
    parents, num = algorithm.population, 4000
    rng = np.random.default_rng(1)
    pairs = np.array([[parents[i] for i in rng.integers(N, size=num)] for _ in range(2)])
    mating = algorithm._pymoo.mating
    children = mating.mutation._do(
        None, mating.crossover._do(None, pairs, random_state=rng).reshape(2 * num, -1), random_state=rng
    ).reshape(pairs.shape)
    is_mutated = (children == marker).all(-1)
    assert is_mutated.mean() == pytest.approx(0.8, abs=0.03)
    assert set(seen) <= set(parents)  # what is mutated is a parent, not a cross
    for place in range(2):
        for first, second, child in zip(
            pairs[0, ~is_mutated[place]], pairs[1, ~is_mutated[place]], children[place, ~is_mutated[place]], strict=True
        ):
            free = SPACE.canonical([int(gene) for gene in child])
            assert tuple(child) == free
            # Genes that a shallower stage switches off are 0, whatever the parents have.
            assert all(c in (a, b, 0) for c, a, b in zip(child, first, second, strict=True))
