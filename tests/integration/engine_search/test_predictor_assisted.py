"""Predictor-assisted search spends its evaluations better than NSGA-II and shows how well it predicts."""

from __future__ import annotations

import pytest

from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.search.algorithm import SearchProblem
from nas_engine.search.algorithms.nsga2 import Nsga2
from nas_engine.search.algorithms.predictor_assisted import PredictorAssistedSearch
from nas_engine.search.cheap_filter import MetricFilter
from nas_engine.search.pareto import HypervolumeReference
from nas_engine.settings.algorithms import Nsga2Settings, PredictorAssistedSettings, PredictorKind
from tests.support.fakes.space import StagedSpace, tell_all

SPACE = StagedSpace(num_stages=5)
FRAME = HypervolumeReference((-1.0, 10.0), (0.0, 310.0))
SMALL = PredictorAssistedSettings(num_initial=15, num_chosen=10, inner_population=20, inner_generations=6)


def problem(*constraints: Constraint) -> SearchProblem:
    return SearchProblem(
        space=SPACE,
        objectives=(Objective(TOP1, Goal.MAXIMIZE), Objective(MACS, Goal.MINIMIZE)),
        constraints=constraints,
        cheap_filter=MetricFilter(lambda genotype: {MACS: SPACE.macs(genotype)}, ()),
    )


def run(algorithm: PredictorAssistedSearch | Nsga2, num: int) -> None:
    while algorithm.num_asked < num:
        algorithm.tell(tell_all(SPACE, algorithm.ask(min(algorithm.batch_size, num - algorithm.num_asked))))


@pytest.mark.parametrize("kind", list(PredictorKind))
def test_it_finds_more_than_nsga2_with_the_same_few_evaluations(kind: PredictorKind) -> None:
    config = PredictorAssistedSettings(
        num_initial=15, num_chosen=10, inner_population=20, inner_generations=6, predictor=kind
    )
    assisted, plain = PredictorAssistedSearch(problem(), config, 0), Nsga2(problem(), Nsga2Settings(), 0)
    run(assisted, 65)
    run(plain, 65)
    assert assisted.archive.hypervolume(FRAME) > 1.01 * plain.archive.hypervolume(FRAME)


def test_quality_counts_fresh_evaluations_of_predicted_metrics_only() -> None:
    algorithm = PredictorAssistedSearch(problem(), SMALL, 0)
    run(algorithm, 15)
    assert algorithm.quality == {}
    run(algorithm, 45)
    assert set(algorithm.quality) == {TOP1}
    quality = algorithm.quality[TOP1]
    assert quality.num_fresh == 30
    assert quality.kendall_tau is not None
    assert quality.kendall_tau > 0.5
    assert quality.mean_absolute_error is not None
    assert quality.mean_absolute_error < 0.05


def test_predicted_constraints_steer_the_choice() -> None:
    bound = Constraint(TOP1, minimum=0.935)
    algorithm = PredictorAssistedSearch(problem(bound), SMALL, 1)
    run(algorithm, 45)
    feasible = [SPACE.top1(result.genotype) >= 0.935 for result in algorithm.results]
    assert sum(feasible[:15]) < 12
    assert sum(feasible[15:]) / 30 > sum(feasible[:15]) / 15


def test_the_batch_stays_admissible_when_all_objectives_are_cheap() -> None:
    cheap_only = SearchProblem(
        space=SPACE,
        objectives=(Objective(MACS, Goal.MINIMIZE),),
        cheap_filter=MetricFilter(lambda g: {MACS: SPACE.macs(g)}, [Constraint(MACS, maximum=150.0)]),
    )
    algorithm = PredictorAssistedSearch(cheap_only, SMALL, 0)
    run(algorithm, 35)
    assert algorithm.quality == {}
    assert all(SPACE.macs(result.genotype) <= 150.0 for result in algorithm.results)
    assert min(SPACE.macs(result.genotype) for result in algorithm.results) < 60.0


def test_a_search_resumed_between_two_asks_goes_on_as_one_that_was_not_interrupted() -> None:
    settings = PredictorAssistedSettings(num_initial=12, num_chosen=6)
    undisturbed = PredictorAssistedSearch(problem(), settings, seed=5)
    run(undisturbed, 18)
    undisturbed.ask(3)
    resumed = PredictorAssistedSearch(problem(), settings, seed=5)
    resumed.load_state(undisturbed.state())
    assert resumed.ask(3) == undisturbed.ask(3)
    assert resumed.state() == undisturbed.state()
