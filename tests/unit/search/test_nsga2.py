"""What NSGA-II does beyond the contract: barriers, constraints, survival, and the traps of the library below it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.errors import InfeasibleError, SearchStateError
from nas_engine.domain.json_value import canonical_json
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import LATENCY_US, MACS, PARAMS, TOP1
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.algorithms.nsga2 import Nsga2
from nas_engine.search.algorithms.random_search import RandomSearch
from nas_engine.search.algorithms.scarlet import ScarletNsga2
from nas_engine.search.pareto import HypervolumeReference, equispaced
from nas_engine.settings.algorithms import ConstraintHandling, Nsga2Settings, RandomSearchSettings, ScarletNsga2Settings
from tests.support.fakes.space import StagedSpace, tell_all

OBJECTIVES = (Objective(TOP1, Goal.MAXIMIZE), Objective(MACS, Goal.MINIMIZE))


def problem(space: StagedSpace, *constraints: Constraint, weights: tuple[float, float] = (1.0, 1.0)) -> SearchProblem:
    weighted = tuple(Objective(o.metric, o.goal, w) for o, w in zip(OBJECTIVES, weights, strict=True))
    return SearchProblem(space=space, objectives=weighted, constraints=constraints)


def generation(algorithm: Nsga2, space: StagedSpace) -> list[tuple[int, ...]]:
    batch = algorithm.ask(algorithm.batch_size)
    algorithm.tell(tell_all(space, batch))
    return batch


def test_the_initial_sample_is_filled_and_generations_have_the_size_of_the_offspring() -> None:
    space = StagedSpace()
    algorithm = Nsga2(problem(space), Nsga2Settings(population_size=12, num_offspring=5), 0)
    assert [len(generation(algorithm, space)) for _ in range(4)] == [12, 5, 5, 5]
    assert algorithm.generation == 4
    assert len(algorithm.population) == 12


def test_a_population_told_in_parts_grows_back_to_its_size() -> None:
    space = StagedSpace()
    algorithm = Nsga2(problem(space), Nsga2Settings(population_size=10), 0)
    batch = algorithm.ask(10)
    algorithm.tell(tell_all(space, batch[:3]))
    assert len(algorithm.population) == 3
    algorithm.tell(tell_all(space, batch[3:]))
    assert set(algorithm.population) == set(batch)
    assert algorithm.pending == ()


def test_it_beats_random_search_on_hypervolume() -> None:
    space = StagedSpace(num_stages=5)
    frame = HypervolumeReference((-1.0, 10.0), (0.0, 310.0))
    hypervolumes = []
    for algorithm in (
        Nsga2(problem(space), Nsga2Settings(population_size=20), 0),
        RandomSearch(problem(space), RandomSearchSettings(), 0),
    ):
        while algorithm.num_asked < 200:
            algorithm.tell(tell_all(space, algorithm.ask(20)))
        hypervolumes.append(algorithm.archive.hypervolume(frame))
    assert hypervolumes[0] > 1.02 * hypervolumes[1]


def test_non_finite_values_never_reach_the_library() -> None:
    with pytest.raises(SearchStateError, match="only finite"):
        Observation(genotype=(0,), objectives={TOP1: float("nan")})
    with pytest.raises(SearchStateError, match="only finite"):
        Observation(genotype=(0,), objectives={LATENCY_US: float("inf")})
    with pytest.raises(SearchStateError, match="uncertainty"):
        Observation(genotype=(0,), objectives={}, uncertainty={LATENCY_US: -1.0})
    with pytest.raises(SearchStateError, match="amount > 0|one > 0"):
        Observation(genotype=(0,), objectives={}, violations={"npu_support": 0.0})


def test_the_global_generator_is_neither_used_nor_moved() -> None:
    space = StagedSpace()
    runs = []
    for global_seed in (1, 2):
        np.random.seed(global_seed)  # noqa: NPY002 - the point of this test
        before = np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]  # noqa: NPY002
        algorithm = Nsga2(problem(space, Constraint(TOP1, minimum=0.8)), Nsga2Settings(population_size=8), 0)
        runs.append([generation(algorithm, space) for _ in range(5)])
        assert np.random.get_state()[1].tolist() == before  # type: ignore[index,union-attr]  # noqa: NPY002
    assert runs[0] == runs[1]


def test_feasible_candidates_survive_before_infeasible_ones() -> None:
    space = StagedSpace()
    bound = Constraint(MACS, maximum=60.0)
    algorithm = Nsga2(problem(space, bound), Nsga2Settings(population_size=10), 0)
    for _ in range(8):
        generation(algorithm, space)
    num_feasible = sum(space.macs(observation.genotype) <= 60.0 for observation in algorithm.results)
    in_population = sum(space.macs(genotype) <= 60.0 for genotype in algorithm.population)
    assert in_population == min(10, num_feasible)
    assert all(space.macs(observation.genotype) <= 60.0 for observation in algorithm.front())


def test_rejected_candidates_never_enter_the_population_and_the_generation_is_asked_on_until_full() -> None:
    space = StagedSpace()
    bound = Constraint(TOP1, minimum=0.88)
    config = Nsga2Settings(population_size=6, constraint_handling=ConstraintHandling.REJECT)
    algorithm = Nsga2(problem(space, bound), config, 0)
    while algorithm.generation < 4:
        generation(algorithm, space)
        assert all(space.top1(genotype) >= 0.88 for genotype in algorithm.population)
    rejected = sum(space.top1(observation.genotype) < 0.88 for observation in algorithm.results)
    assert rejected > 0
    assert algorithm.num_asked >= 4 * 6 + rejected


def test_what_waits_for_a_full_generation_and_violates_after_a_revision_is_rejected() -> None:
    space = StagedSpace()
    bound = Constraint(TOP1, minimum=0.0)
    config = Nsga2Settings(population_size=6, constraint_handling=ConstraintHandling.REJECT)
    algorithm = Nsga2(problem(space, bound), config, 0)
    observations = tell_all(space, algorithm.ask(4))
    algorithm.tell(observations)
    assert (algorithm.population, set(algorithm.survivors)) == ((), {result.genotype for result in observations})
    worse = Observation(genotype=observations[0].genotype, objectives={**observations[0].objectives, TOP1: -0.1})
    algorithm.revise([worse])
    assert set(algorithm.survivors) == {result.genotype for result in observations[1:]}
    assert algorithm.batch_size == 3
    algorithm.withdraw([observations[1].genotype])
    assert set(algorithm.survivors) == {result.genotype for result in observations[2:]}
    generation(algorithm, space)
    assert len(algorithm.population) == 6
    assert worse.genotype not in algorithm.population


def test_a_measured_constraint_nobody_meets_is_reported_with_the_range_seen() -> None:
    space = StagedSpace()
    algorithm = ScarletNsga2(
        problem(space, Constraint(TOP1, minimum=0.999)),
        ScarletNsga2Settings(population_size=5, max_rejections=30),
        0,
    )

    def search_on() -> None:
        for _ in range(50):
            generation(algorithm, space)

    with pytest.raises(InfeasibleError, match=r"top1 from [\d.]+ % to [\d.]+ %"):
        search_on()
    assert algorithm.num_asked <= 40


def test_a_checkpoint_keeps_rank_and_crowding_and_the_half_full_generation() -> None:
    space = StagedSpace()
    bound = Constraint(TOP1, minimum=0.88)

    def make() -> ScarletNsga2:
        return ScarletNsga2(problem(space, bound), ScarletNsga2Settings(population_size=8), 5)

    undisturbed, resumed = make(), make()
    for _ in range(12):
        successor = make()
        successor.load_state(json.loads(canonical_json(resumed.state())))
        resumed = successor
        assert generation(undisturbed, space) == generation(resumed, space)
    state: Any = undisturbed.state()
    assert {"rank", "crowding", "genotype"} == set(state["own"]["population"][0])
    assert "inf" in {member["crowding"] for member in state["own"]["population"]}


def test_weights_make_the_front_denser_along_their_objective() -> None:
    space = StagedSpace(num_stages=4)

    def spread(weights: tuple[float, float]) -> float:
        found = []
        for seed in range(3):
            algorithm = Nsga2(problem(space, weights=weights), Nsga2Settings(population_size=16), seed)
            for _ in range(12):
                generation(algorithm, space)
            macs = np.sort([space.macs(genotype) for genotype in algorithm.population])
            found.append(float(np.diff(macs).std() / np.diff(macs).mean()))
        return float(np.mean(found))

    # Weighing MACs alone spaces the survivors evenly along MACs; weighing accuracy alone does not.
    assert spread((0.01, 100.0)) < spread((100.0, 0.01))


def test_a_damaged_population_is_refused() -> None:
    space = StagedSpace()
    algorithm = Nsga2(problem(space), Nsga2Settings(population_size=5), 0)
    generation(algorithm, space)
    state: Any = json.loads(canonical_json(algorithm.state()))
    stranger = [0] * 12 if (0,) * 12 not in algorithm.population else [1] * 12
    state["own"]["population"][0]["genotype"] = stranger
    with pytest.raises(SearchStateError, match="has no result"):
        Nsga2(problem(space), Nsga2Settings(population_size=5), 0).load_state(state)


def test_three_objectives_with_params_maximised_are_searched_and_equispaced_models_picked() -> None:
    space = StagedSpace()
    objectives = (
        Objective(TOP1, Goal.MAXIMIZE, weight=0.4),
        Objective(MACS, Goal.MINIMIZE, weight=0.4),
        Objective(PARAMS, Goal.MAXIMIZE, weight=0.2),
    )
    algorithm = ScarletNsga2(
        SearchProblem(space=space, objectives=objectives), ScarletNsga2Settings(population_size=10), 0
    )
    for _ in range(4):
        batch = algorithm.ask(algorithm.batch_size)
        algorithm.tell(
            [
                Observation(
                    genotype=observation.genotype,
                    objectives={**observation.objectives, PARAMS: float(sum(observation.genotype[1::4]))},
                )
                for observation in tell_all(space, batch)
            ]
        )
    front = algorithm.front()
    most = max(observation.objectives[PARAMS] for observation in algorithm.results)
    assert most in {observation.objectives[PARAMS] for observation in front}
    assert len(equispaced(algorithm.archive.points(front), 5)) == 5


def noisy(genotypes: list[tuple[int, ...]], space: StagedSpace, error: float) -> list[Observation]:
    return [
        Observation(genotype=t.genotype, objectives=t.objectives, uncertainty={TOP1: error, MACS: 0.0})
        for t in tell_all(space, genotypes)
    ]


def confident(space: StagedSpace) -> SearchProblem:
    return replace(problem(space), dominance=Dominance.CONFIDENT)


def test_confident_dominance_gives_one_rank_to_what_cannot_be_told_apart() -> None:
    space = StagedSpace()
    ranks: dict[float, set[int]] = {}
    for error in (0.0, 100.0):
        algorithm = Nsga2(confident(space), Nsga2Settings(population_size=12), 0)
        batch = algorithm.ask(12)
        algorithm.tell(noisy(batch, space, error))
        ranks[error] = {int(individual.get("rank")) for individual in algorithm._pymoo.pop}
        front = {observation.genotype for observation in algorithm.front()}
        assert front >= {observation.genotype for observation in algorithm.archive.front()}
        assert (front == set(batch)) == (error > 0)
    assert ranks[100.0] == {0}
    assert ranks[0.0] > {0}


def test_confident_dominance_resumes_exactly_with_the_errors_it_was_told() -> None:
    space, config = StagedSpace(), Nsga2Settings(population_size=8)
    whole, resumed = (Nsga2(confident(space), config, 3) for _ in range(2))
    for _ in range(3):
        whole.tell(noisy(whole.ask(8), space, 0.05))
    resumed.load_state(json.loads(canonical_json(whole.state())))
    for _ in range(3):
        batch = whole.ask(8)
        assert resumed.ask(8) == batch
        for one in (whole, resumed):
            one.tell(noisy(batch, space, 0.05))
    with pytest.raises(SearchStateError, match="another search"):
        Nsga2(problem(space), Nsga2Settings(population_size=8), 3).load_state(whole.state())


def test_a_revised_error_ranks_the_survivors_anew() -> None:
    space = StagedSpace()
    algorithm = Nsga2(confident(space), Nsga2Settings(population_size=12), 0)
    batch = algorithm.ask(12)
    algorithm.tell(noisy(batch, space, 0.0))
    algorithm.revise(noisy(batch, space, 100.0))
    assert {int(individual.get("rank")) for individual in algorithm._pymoo.pop} == {0}


def test_without_a_population_the_survivors_grow_with_what_was_evaluated() -> None:
    space = StagedSpace(num_stages=5)
    algorithm = Nsga2(problem(space), Nsga2Settings(), 0)
    sizes, survivors = [], []
    while algorithm.num_asked < 200:
        sizes.append(len(generation(algorithm, space)))
        survivors.append(len(algorithm.population))
    assert sizes[:3] == [16, 5, 5]
    assert sizes[-1] == survivors[-2] // 2 == 8
    assert survivors[1] == 10
    assert survivors[-1] == 10 + algorithm.num_asked // 30


def test_a_small_space_is_not_spent_on_the_initial_sample_and_more_objectives_need_a_larger_one() -> None:
    settings = Nsga2Settings()
    assert settings.initial_sample(num_architectures=60, num_objectives=2) == 6
    assert settings.initial_sample(num_architectures=10**9, num_objectives=3) == 24
    assert settings.survivors(num_observed=0, num_objectives=3) == 18


def test_a_named_population_stays_as_it_is_and_breeds_as_many() -> None:
    settings = Nsga2Settings(population_size=12)
    assert settings.initial_sample(num_architectures=60, num_objectives=3) == 12
    assert settings.survivors(500, 3) == settings.offspring(500, 3) == 12
    assert settings.mates == 1


def test_the_second_parent_is_the_nearest_of_several() -> None:
    space = StagedSpace(num_stages=5)
    gaps = []
    for num_mates in (1, 10):
        algorithm = Nsga2(problem(space), Nsga2Settings(population_size=20, num_mates=num_mates), 0)
        for _ in range(5):
            generation(algorithm, space)
        points = algorithm._pymoo.pop.get("F")
        pymoo = algorithm._pymoo
        pairs = pymoo.mating.selection._do(
            None, pymoo.pop, 50, 2, random_state=np.random.default_rng(0), algorithm=pymoo
        )
        gaps.append(np.abs(np.diff(points[pairs], axis=1) / np.ptp(points, axis=0)).sum(axis=2).mean())
    assert gaps[1] < 0.5 * gaps[0]
