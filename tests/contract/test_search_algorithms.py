"""The contract every search algorithm keeps; each algorithm is one class below."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import cast

import pytest

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.errors import InfeasibleError, SearchStateError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.search.algorithm import CheapFilter, Observation, SearchAlgorithm, SearchProblem, accept_all
from nas_engine.search.algorithms.nsga2 import Nsga2
from nas_engine.search.algorithms.random_search import RandomSearch
from nas_engine.search.amending import load_amended_state, reconsider
from nas_engine.search.factory import create_algorithm
from nas_engine.settings.algorithms import (
    BinnedEvolutionSettings,
    Nsga2Settings,
    PredictorAssistedSettings,
    RandomSearchSettings,
    ScarletNsga2Settings,
    SposEvolutionSettings,
)
from tests.support.fakes.space import MacsBelow, StagedSpace, tell_all

ACCURACY = Objective(TOP1, Goal.MAXIMIZE)
FEWER_MACS = Objective(MACS, Goal.MINIMIZE)


def round_trip(state: JsonValue) -> JsonValue:
    """Through canonical JSON text, as the database stores it."""
    return cast(JsonValue, json.loads(canonical_json(state)))


class SearchAlgorithmContract(ABC):
    """Subclasses say how the algorithm is made; `num_generations` bounds the longer tests."""

    objectives: tuple[Objective, ...] = (ACCURACY, FEWER_MACS)
    num_generations = 6

    @abstractmethod
    def make(self, problem: SearchProblem, seed: int) -> SearchAlgorithm: ...

    def problem(
        self,
        space: StagedSpace,
        cheap_filter: CheapFilter = accept_all,
        constraints: tuple[Constraint, ...] = (),
    ) -> SearchProblem:
        return SearchProblem(
            space=space, objectives=self.objectives, cheap_filter=cheap_filter, constraints=constraints
        )

    def drive(self, algorithm: SearchAlgorithm, space: StagedSpace, num_generations: int) -> list[list[int]]:
        """Run whole generations; returns every genotype in the order asked."""
        asked: list[list[int]] = []
        for _ in range(num_generations):
            batch = algorithm.ask(algorithm.batch_size)
            asked.extend(list(genotype) for genotype in batch)
            algorithm.tell(tell_all(space, batch))
        return asked

    def test_asks_canonical_genotypes_and_none_twice(self) -> None:
        space = StagedSpace()
        algorithm = self.make(self.problem(space), 1)
        asked = self.drive(algorithm, space, self.num_generations)
        assert len(asked) > self.num_generations
        assert all(list(space.canonical(genotype)) == genotype for genotype in asked)
        assert len({tuple(genotype) for genotype in asked}) == len(asked) == algorithm.num_asked

    def test_two_asks_before_a_tell_do_not_overlap(self) -> None:
        space = StagedSpace()
        algorithm = self.make(self.problem(space), 2)
        self.drive(algorithm, space, 2)
        first, second = algorithm.ask(5), algorithm.ask(5)
        assert len(set(first) | set(second)) == 10
        assert set(algorithm.pending) == set(first) | set(second)

    def test_equal_seeds_ask_the_same_and_other_seeds_do_not(self) -> None:
        space = StagedSpace()
        runs = [self.drive(self.make(self.problem(space), seed), space, 4) for seed in (7, 7, 8)]
        assert runs[0] == runs[1] != runs[2]

    def test_resumes_exactly_from_a_checkpoint_of_any_generation(self) -> None:
        space = StagedSpace()
        undisturbed = self.make(self.problem(space), 3)
        resumed = self.make(self.problem(space), 3)
        for _ in range(self.num_generations):
            successor = self.make(self.problem(space), 99)
            successor.load_state(round_trip(resumed.state()))
            assert canonical_json(successor.state()) == canonical_json(resumed.state())
            resumed = successor
            assert self.drive(undisturbed, space, 1) == self.drive(resumed, space, 1)

    def test_resumes_exactly_between_ask_and_tell(self) -> None:
        space = StagedSpace()
        undisturbed = self.make(self.problem(space), 4)
        self.drive(undisturbed, space, 2)
        batch = undisturbed.ask(undisturbed.batch_size)
        resumed = self.make(self.problem(space), 4)
        resumed.load_state(round_trip(undisturbed.state()))
        assert list(resumed.pending) == batch
        for algorithm in (undisturbed, resumed):
            algorithm.tell(tell_all(space, batch))
        assert self.drive(undisturbed, space, 2) == self.drive(resumed, space, 2)

    def test_what_is_withdrawn_is_compared_with_nothing_and_never_asked_again(self) -> None:
        space = StagedSpace()
        algorithm = self.make(self.problem(space), 9)
        self.drive(algorithm, space, 3)
        observations, pending = algorithm.results, algorithm.ask(2)
        gone = [result.genotype for result in observations[::2]]
        algorithm.withdraw(gone)
        assert algorithm.results == observations[1::2]
        assert not set(gone) & {*algorithm.survivors, *(result.genotype for result in algorithm.front())}
        assert list(algorithm.pending) == pending
        with pytest.raises(SearchStateError, match="was not told, or was withdrawn"):
            algorithm.withdraw([algorithm.results[0].genotype, gone[0]])
        with pytest.raises(SearchStateError, match="told before"):
            algorithm.tell(tell_all(space, gone[:1]))
        assert algorithm.results == observations[1::2]
        algorithm.tell(tell_all(space, pending))
        resumed = self.make(self.problem(space), 99)
        resumed.load_state(round_trip(algorithm.state()))
        asked = self.drive(algorithm, space, 3)
        assert self.drive(resumed, space, 3) == asked
        assert not {tuple(genotype) for genotype in asked} & {result.genotype for result in observations}

    def test_a_search_goes_on_when_everything_was_withdrawn(self) -> None:
        space = StagedSpace()
        algorithm = self.make(self.problem(space), 10)
        self.drive(algorithm, space, 2)
        algorithm.withdraw([result.genotype for result in algorithm.results])
        assert algorithm.results == algorithm.survivors == algorithm.front() == ()
        asked = self.drive(algorithm, space, 3)
        assert len(asked) >= 3
        assert len(algorithm.results) == len(asked)

    def test_the_order_within_one_tell_does_not_matter(self) -> None:
        space = StagedSpace()
        forward, backward = (self.make(self.problem(space), 5) for _ in range(2))
        for _ in range(4):
            batch = forward.ask(forward.batch_size)
            assert backward.ask(backward.batch_size) == batch
            forward.tell(tell_all(space, batch))
            backward.tell(tell_all(space, batch[::-1]))
        assert canonical_json(forward.state()) == canonical_json(backward.state())

    def test_asks_only_what_the_cheap_filter_admits(self) -> None:
        space = StagedSpace()
        algorithm = self.make(self.problem(space, MacsBelow(space, 60.0)), 6)
        asked = self.drive(algorithm, space, 4)
        assert asked
        assert all(space.macs(tuple(genotype)) <= 60.0 for genotype in asked)

    def test_finds_a_corner_that_random_draws_miss(self) -> None:
        space = StagedSpace(num_stages=6, max_depth=3, num_operators=6)
        smallest = space.macs((0,) * len(space.genes))
        algorithm = self.make(self.problem(space, MacsBelow(space, smallest + 5.0)), 6)
        batch = algorithm.ask(3)
        assert len(batch) == 3
        assert all(space.macs(genotype) <= smallest + 5.0 for genotype in batch)

    def test_an_infeasible_filter_is_reported_with_what_was_found_after_bounded_tries(self) -> None:
        space = StagedSpace()
        impossible = MacsBelow(space, 1.0)
        with pytest.raises(InfeasibleError, match=r"macs missed by .* at best.*macs \d+ to \d+"):
            self.make(self.problem(space, impossible), 1).ask(5)
        assert impossible.num_calls < 60_000

    def test_a_small_space_is_asked_whole_and_then_reported_exhausted(self) -> None:
        space = StagedSpace(num_stages=1, max_depth=2, num_operators=3)
        num_architectures = 3 + 9
        algorithm = self.make(self.problem(space), 1)
        asked: list[tuple[int, ...]] = []
        for _ in range(50):
            batch = algorithm.ask(5)
            if not batch:
                break
            asked.extend(batch)
            algorithm.tell(tell_all(space, batch))
        assert len(set(asked)) == len(asked) == num_architectures
        assert algorithm.exhausted
        assert algorithm.ask(5) == []

    def test_warm_start_candidates_come_first_and_the_others_are_named_with_the_reason(self) -> None:
        space = StagedSpace()
        algorithm = self.make(self.problem(space, MacsBelow(space, 100.0)), 1)
        good, too_big = (0,) * 12, (2, 3, 3, 3) * 3
        rejections = algorithm.enqueue([good, good, too_big, (9,) * 12])
        assert algorithm.ask(4)[0] == good
        assert [rejection.genotype for rejection in rejections] == [good, too_big, (9,) * 12]
        assert "already" in rejections[0].reason
        assert "macs" in rejections[1].reason
        assert "allowed" in rejections[2].reason

    def test_refuses_results_it_cannot_trust_and_takes_nothing_over(self) -> None:
        space = StagedSpace()
        algorithm = self.make(self.problem(space), 1)
        batch = algorithm.ask(4)
        results = tell_all(space, batch)
        stranger = tell_all(space, [(1,) * 12])
        incomplete = Observation(genotype=batch[0], objectives={})
        before = canonical_json(algorithm.state())
        for bad, message in (
            ([*results, *stranger], "never asked"),
            ([*results, results[0]], "two results"),
            ([incomplete, *results[1:]], "without"),
        ):
            with pytest.raises(SearchStateError, match=message):
                algorithm.tell(bad)
            assert canonical_json(algorithm.state()) == before
        with pytest.raises(SearchStateError, match="not told yet"):
            algorithm.revise(results)
        algorithm.tell(results)
        with pytest.raises(SearchStateError, match="told before"):
            algorithm.tell(results[:1])

    def test_a_revised_value_replaces_the_earlier_one_on_the_front(self) -> None:
        space = StagedSpace()
        algorithm = self.make(self.problem(space), 1)
        self.drive(algorithm, space, 2)
        best = algorithm.front()[0]
        worst = {o.metric: (0.0 if o.goal is Goal.MAXIMIZE else 1e6) for o in self.objectives}
        algorithm.revise([Observation(genotype=best.genotype, objectives={**best.objectives, **worst})])
        assert best.genotype not in {observation.genotype for observation in algorithm.front()}
        resumed = self.make(self.problem(space), 1)
        resumed.load_state(round_trip(algorithm.state()))
        assert self.drive(resumed, space, 2) == self.drive(algorithm, space, 2)

    def test_an_infeasible_architecture_is_told_without_values_and_never_reaches_the_front(self) -> None:
        space = StagedSpace()
        algorithm = self.make(self.problem(space), 1)
        self.drive(algorithm, space, 1)
        batch = algorithm.ask(algorithm.batch_size)
        refused = Observation(genotype=batch[0], objectives={}, violations={"npu_support": 1.0})
        algorithm.tell([refused, *tell_all(space, batch[1:])])
        assert batch[0] not in {observation.genotype for observation in algorithm.front()}
        assert self.drive(algorithm, space, 1)

    def test_goes_on_under_other_constraints_and_resumes_exactly_from_then_on(self) -> None:
        space = StagedSpace()
        before = self.make(self.problem(space), 11)
        asked_before = self.drive(before, space, 3)
        told = before.results
        accuracies, macs = (sorted(one.objectives[metric] for one in told) for metric in (TOP1, MACS))
        bounded = (Constraint(TOP1, accuracies[len(told) // 3], None),)
        limit = macs[2 * len(told) // 3]
        cheap = MacsBelow(space, limit)
        state = round_trip(before.state())
        after = self.make(self.problem(space, cheap, bounded), 99)
        with pytest.raises(SearchStateError, match="another search"):
            after.load_state(state)
        load_amended_state(after, state)
        assert after.results == told
        reconsider(after, [replace(one, violations=cheap(one.genotype).violations) for one in told])
        for kept in after.front():
            assert kept.objectives[TOP1] >= accuracies[len(told) // 3]
            assert space.macs(kept.genotype) <= limit
        resumed = self.make(self.problem(space, cheap, bounded), 98)
        resumed.load_state(round_trip(after.state()))
        asked = self.drive(after, space, 3)
        assert self.drive(resumed, space, 3) == asked
        assert asked
        assert all(space.macs(tuple(genotype)) <= limit for genotype in asked)
        assert not {tuple(genotype) for genotype in asked} & {tuple(genotype) for genotype in asked_before}

    def test_what_missed_a_bound_counts_once_it_is_taken_away(self) -> None:
        space = StagedSpace()
        before = self.make(self.problem(space, constraints=(Constraint(TOP1, None, 0.0),)), 12)
        batch = before.ask(before.batch_size)
        before.tell(tell_all(space, batch))
        assert before.front() == ()
        after = self.make(self.problem(space), 12)
        load_amended_state(after, round_trip(before.state()))
        reconsider(after, before.results)
        assert after.front()
        assert self.drive(after, space, 2)
        with pytest.raises(SearchStateError, match="another search"):
            load_amended_state(self.make(self.problem(StagedSpace(num_stages=2)), 1), before.state())

    def test_refuses_the_checkpoint_of_another_search(self) -> None:
        space, other = StagedSpace(), StagedSpace(num_stages=2)
        state = self.make(self.problem(space), 1).state()
        with pytest.raises(SearchStateError, match="another search"):
            self.make(self.problem(other), 1).load_state(state)
        assert isinstance(state, dict)
        with pytest.raises(SearchStateError, match="schema version"):
            self.make(self.problem(space), 1).load_state({**state, "schema_version": 999})
        with pytest.raises(SearchStateError, match="rng"):
            self.make(self.problem(space), 1).load_state({**state, "rng": {}})
        with pytest.raises(SearchStateError, match="at least one"):
            self.make(self.problem(space), 1).ask(0)


class TestRandomSearch(SearchAlgorithmContract):
    def make(self, problem: SearchProblem, seed: int) -> SearchAlgorithm:
        return RandomSearch(problem, RandomSearchSettings(batch_size=8), seed)


class TestNsga2(SearchAlgorithmContract):
    def make(self, problem: SearchProblem, seed: int) -> SearchAlgorithm:
        return Nsga2(problem, Nsga2Settings(population_size=10), seed)


class TestNsga2WithDefaults(SearchAlgorithmContract):
    """The population grows and the second parent is a near one: both must follow from the checkpoint."""

    num_generations = 12

    def make(self, problem: SearchProblem, seed: int) -> SearchAlgorithm:
        return Nsga2(problem, Nsga2Settings(), seed)


class TestNsga2WithConfidentDominance(SearchAlgorithmContract):
    def make(self, problem: SearchProblem, seed: int) -> SearchAlgorithm:
        return Nsga2(replace(problem, dominance=Dominance.CONFIDENT), Nsga2Settings(population_size=10), seed)


class TestNsga2SteadyState(SearchAlgorithmContract):
    num_generations = 30

    def make(self, problem: SearchProblem, seed: int) -> SearchAlgorithm:
        return Nsga2(problem, Nsga2Settings(population_size=10, num_offspring=1), seed)


class TestScarlet(SearchAlgorithmContract):
    def make(self, problem: SearchProblem, seed: int) -> SearchAlgorithm:
        config = ScarletNsga2Settings(population_size=10)
        return create_algorithm(config, problem, seed)


class TestSposEvolution(SearchAlgorithmContract):
    objectives = (ACCURACY,)

    def make(self, problem: SearchProblem, seed: int) -> SearchAlgorithm:
        config = SposEvolutionSettings(population_size=10, num_parents=4, num_mutation=5, num_crossover=5)
        return create_algorithm(config, problem, seed)


class TestBinnedEvolution(SearchAlgorithmContract):
    def make(self, problem: SearchProblem, seed: int) -> SearchAlgorithm:
        config = BinnedEvolutionSettings(
            bin_width=10.0, population_size=12, num_mutation=5, num_crossover=5, include_first=False
        )
        return create_algorithm(config, problem, seed)


class TestPredictorAssisted(SearchAlgorithmContract):
    num_generations = 4

    def make(self, problem: SearchProblem, seed: int) -> SearchAlgorithm:
        config = PredictorAssistedSettings(num_initial=8, num_chosen=6, inner_population=10, inner_generations=3)
        return create_algorithm(config, problem, seed)
