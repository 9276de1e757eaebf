"""AttentiveNAS-style evolution: the best of each bin breeds, the smallest network starts."""

from __future__ import annotations

from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Objective
from nas_engine.search.algorithm import Observation, SearchProblem
from nas_engine.search.algorithms.binned_evolution import BinnedEvolution
from nas_engine.settings.algorithms import BinnedEvolutionSettings
from tests.support.fakes.space import StagedSpace, tell_all

SPACE = StagedSpace()
OBJECTIVES = (Objective(TOP1, Goal.MAXIMIZE), Objective(MACS, Goal.MINIMIZE))
CONFIG = BinnedEvolutionSettings(bin_width=20.0, population_size=20, num_mutation=6, num_crossover=4)


def make(config: BinnedEvolutionSettings = CONFIG) -> BinnedEvolution:
    return BinnedEvolution(SearchProblem(space=SPACE, objectives=OBJECTIVES), config, 0)


def test_the_smallest_network_is_evaluated_first() -> None:
    assert make().ask(20)[0] == (0,) * 12


def test_every_bin_keeps_its_most_accurate_candidate() -> None:
    algorithm = make()
    for _ in range(4):
        algorithm.tell(tell_all(SPACE, algorithm.ask(algorithm.batch_size)))
    best = algorithm.best_per_bin()
    for observation in algorithm.results:
        number = round(SPACE.macs(observation.genotype) / 20.0)
        assert SPACE.top1(best[number].genotype) >= SPACE.top1(observation.genotype)
    assert len(best) == len({round(SPACE.macs(observation.genotype) / 20.0) for observation in algorithm.results})


def test_generations_follow_the_initial_sample_with_children_of_the_kept_ones() -> None:
    algorithm = make()
    sizes = []
    for _ in range(3):
        parents = [observation.genotype for observation in algorithm.best_per_bin().values()]
        batch = algorithm.ask(algorithm.batch_size)
        sizes.append(len(batch))
        if parents:
            crossed = batch[6:]
            assert all(all(any(p[i] == g[i] or g[i] == 0 for p in parents) for i in range(12)) for g in crossed)
        algorithm.tell(tell_all(SPACE, batch))
    assert sizes == [20, 10, 10]
    assert algorithm.generation == 3


def test_an_infeasible_candidate_holds_no_bin() -> None:
    algorithm = make()
    batch = algorithm.ask(20)
    refused = Observation(genotype=batch[0], objectives={}, violations={"operator_support": 1.0})
    algorithm.tell([refused, *tell_all(SPACE, batch[1:])])
    assert batch[0] not in {observation.genotype for observation in algorithm.best_per_bin().values()}
