"""The contracts of the stores of searches, candidates and evaluations, against SQLite and PostgreSQL."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nas_engine.domain.measuring.paired import CorrectAnswers
from nas_engine.domain.metrics import LATENCY_US, TEST_TOP1, TOP1
from server.artifacts.files import FileByteStore
from server.candidates.candidate import (
    AwaitedEvaluation,
    Candidate,
    CandidateQuery,
    Evaluation,
    MetricBound,
)
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.evaluations import next_attempt
from server.candidates.search import Search, SearchQuery
from server.candidates.search_store import SearchStore
from server.candidates.spec import parse_search_spec
from server.candidates.states import CandidateState, EvaluationSource, SearchState
from server.core.database.transaction import Transaction
from server.core.errors import ConflictError, InvalidValueError, NotFoundError
from server.core.ids import IdPrefix, new_id
from server.core.paging import PageRequest
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import SPEC, World, run_to_end
from tests.support.worlds.stored import add_searches, every_page, measured, new_candidate, new_search


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


class TestSearches:
    def test_a_search_comes_back_as_it_was_stored(self, world: World) -> None:
        search = new_search(reason="because", state=SearchState.PAUSED)
        world.uow.write(lambda tx: SearchStore(tx).add_search(search))
        assert world.searches.get_search(search.id) == search

    def test_saving_counts_versions(self, world: World) -> None:
        search = new_search()
        world.uow.write(lambda tx: SearchStore(tx).add_search(search))
        saved = world.uow.write(
            lambda tx: SearchStore(tx).save_search(
                dataclasses.replace(SearchStore(tx).lock_search(search.id), reason="x")
            )
        )
        assert (saved.version, saved.reason) == (2, "x")
        assert world.searches.get_search(search.id) == saved

    def test_what_is_not_there_is_named(self, world: World) -> None:
        with pytest.raises(NotFoundError, match="srch_none"):
            world.searches.get_search("srch_none")

    def test_pages_hold_every_search_once_newest_first(self, world: World) -> None:
        searches = [new_search() for _ in range(7)]
        add_searches(world, searches)
        listed = every_page(lambda page: world.searches.page_of_searches(SearchQuery(), page), 3)
        assert [s.id for s in listed] == sorted((s.id for s in searches), reverse=True)

    def test_a_page_does_not_move_when_something_is_added(self, world: World) -> None:
        first = [new_search() for _ in range(4)]
        add_searches(world, first)
        page = world.searches.page_of_searches(SearchQuery(), PageRequest(2))
        world.uow.write(lambda tx: SearchStore(tx).add_search(new_search()))
        rest = world.searches.page_of_searches(SearchQuery(), PageRequest(10, page.next))
        assert {s.id for s in (*page.items, *rest.items)} == {s.id for s in first}

    def test_filters_by_state_and_labels(self, world: World) -> None:
        spec = parse_search_spec({**SPEC, "labels": {"team": "vision", "x": "1"}})
        labelled = new_search(spec=spec, state=SearchState.FAILED)
        add_searches(world, [labelled, new_search()])
        by_label = SearchQuery(labels={"team": "vision"})
        assert [s.id for s in world.searches.page_of_searches(by_label, PageRequest()).items] == [labelled.id]
        assert world.searches.count_searches(SearchQuery(states=(SearchState.FAILED,))) == 1
        assert world.searches.count_searches(SearchQuery(labels={"team": "audio"})) == 0


class TestCandidates:
    def add(self, world: World, count: int = 10) -> Search:
        search = new_search()
        candidates = [
            new_candidate(search, seq, current={} if seq % 3 == 0 else measured(100.0 - seq))
            for seq in range(1, count + 1)
        ]

        def work(tx: Transaction) -> None:
            SearchStore(tx).add_search(search)
            CandidateStore(tx).add_candidates(candidates)

        world.uow.write(work)
        return search

    def test_the_same_architecture_twice_in_a_search_is_refused_and_nothing_is_stored(self, world: World) -> None:
        search = self.add(world, 2)
        again = [new_candidate(search, 3), dataclasses.replace(new_candidate(search, 1), seq=4)]
        with pytest.raises(ConflictError):
            world.uow.write(lambda tx: CandidateStore(tx).add_candidates(again))
        assert len(world.candidates(search)) == 2

    def test_the_same_architecture_in_two_searches_is_fine(self, world: World) -> None:
        first, second = self.add(world, 3), self.add(world, 3)
        assert [c.arch_id for c in world.candidates(first)] == [c.arch_id for c in world.candidates(second)]

    @pytest.mark.parametrize("descending", [False, True])
    def test_pages_by_a_metric_hold_everything_once_and_unknown_last(self, world: World, descending: bool) -> None:
        search = self.add(world)
        query = CandidateQuery(search_id=search.id, order=LATENCY_US, descending=descending)
        listed = every_page(
            lambda page: world.uow.read(lambda tx: CandidateStore(tx).page_of_candidates(query, page)), 3
        )
        assert len({c.id for c in listed}) == 10
        latencies = [c.value(LATENCY_US) for c in listed]
        known = [one for one in latencies if one is not None]
        assert known == sorted(known, reverse=descending)
        assert latencies[len(known) :] == [None] * 3

    def test_bounds_keep_what_lies_within_and_is_known(self, world: World) -> None:
        search = self.add(world)
        bounds = (MetricBound(metric=LATENCY_US, minimum=92, maximum=98),)
        query = CandidateQuery(search_id=search.id, bounds=bounds)
        found = world.uow.read(lambda tx: CandidateStore(tx).page_of_candidates(query, PageRequest())).items
        assert [c.value(LATENCY_US) for c in found] == [98.0, 96.0, 95.0, 93.0, 92.0]
        assert world.uow.read(lambda tx: CandidateStore(tx).count_candidates(query)) == 5

    def test_marking_told_counts_only_new_ones(self, world: World) -> None:
        search = self.add(world, 3)
        ids = [c.id for c in world.candidates(search)]
        assert world.uow.write(lambda tx: CandidateStore(tx).mark_candidates_observed(search.id, ids[:2], 1)) == 2
        assert world.uow.write(lambda tx: CandidateStore(tx).mark_candidates_observed(search.id, ids, 2)) == 1
        assert [c.told_seq for c in world.candidates(search)] == [1, 1, 2]


class TestEvaluations:
    def one(self, world: World) -> tuple[Search, Candidate]:
        search = new_search()
        candidate = new_candidate(search, 1)

        def work(tx: Transaction) -> None:
            SearchStore(tx).add_search(search)
            CandidateStore(tx).add_candidates([candidate])

        world.uow.write(work)
        return search, candidate

    def evaluation(self, candidate: Candidate, **changes: Any) -> Evaluation:
        values: dict[str, Any] = {
            "id": new_id(IdPrefix.EVALUATION),
            "search_id": candidate.search_id,
            "candidate_id": candidate.id,
            "metric": TOP1,
            "value": 0.5,
            "source": EvaluationSource.EVALUATED,
            "created_at": candidate.created_at,
        }
        return Evaluation(**{**values, **changes})

    def test_an_attempt_is_stored_once(self, world: World) -> None:
        _, candidate = self.one(world)
        first, second = self.evaluation(candidate), self.evaluation(candidate, value=0.9)
        assert world.uow.write(lambda tx: EvaluationStore(tx).add_evaluation(first)) is True
        assert world.uow.write(lambda tx: EvaluationStore(tx).add_evaluation(second)) is False
        stored = world.uow.read(lambda tx: EvaluationStore(tx).evaluations_of_candidates([candidate.id]))
        assert [e.id for e in stored if e.metric == TOP1] == [first.id]

    def test_answers_to_images_belong_to_the_current_accuracy(self, world: World) -> None:
        _, candidate = self.one(world)
        first, second, other = (
            CorrectAnswers(num_images=10, labels_sha256=digit * 64, bits=bits)
            for digit, bits in (("1", b"\xf0\x00"), ("1", b"\x0f\x40"), ("2", b"\x00\x00"))
        )

        def current(tx: Transaction) -> Any:
            return EvaluationStore(tx).current_answers([candidate.id], (TOP1, TEST_TOP1))

        for attempt, given in ((1, first), (2, second)):
            found = self.evaluation(candidate, attempt=attempt)
            world.uow.write(lambda tx, e=found, a=given: EvaluationStore(tx).add_evaluation(e, answers=a))  # type: ignore[misc]
        assert world.uow.read(current) == {TOP1: {candidate.id: second}, TEST_TOP1: {}}
        test = self.evaluation(candidate, metric=TEST_TOP1)
        world.uow.write(lambda tx: EvaluationStore(tx).add_evaluation(test, answers=other))
        late = self.evaluation(candidate, attempt=3)
        world.uow.write(lambda tx: EvaluationStore(tx).add_evaluation(late, current=False, answers=first))
        assert world.uow.read(current) == {TOP1: {candidate.id: second}, TEST_TOP1: {candidate.id: other}}
        unknown = self.evaluation(candidate, attempt=4)
        world.uow.write(lambda tx: EvaluationStore(tx).add_evaluation(unknown))
        assert world.uow.read(current)[TOP1] == {}, "of the value that counts now it is not known"

    def test_attempts_are_counted_by_metric_whoever_made_its_value(self, world: World) -> None:
        _, candidate = self.one(world)
        world.uow.write(lambda tx: EvaluationStore(tx).add_evaluation(self.evaluation(candidate, attempt=2)))
        same = dataclasses.replace(TOP1)  # as read from a specification: equal, and another object
        assert world.uow.read(lambda tx: next_attempt(tx, candidate, same)) == 3
        assert world.uow.read(lambda tx: next_attempt(tx, candidate, LATENCY_US)) == 1

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_non_finite_values_are_refused_by_the_value_and_by_the_database(self, world: World, value: float) -> None:
        _, candidate = self.one(world)
        with pytest.raises(InvalidValueError, match="only finite values"):
            self.evaluation(candidate, value=value)
        good = self.evaluation(candidate)
        world.uow.write(lambda tx: EvaluationStore(tx).add_evaluation(good))
        for table, column in (("evaluations", "value"), ("evaluations", "uncertainty")):
            if world.database.name == "sqlite" and math.isnan(value) and column != "value":
                continue  # SQLite turns NaN into NULL, which these columns may be: no NaN is stored either way
            with pytest.raises(sa.exc.IntegrityError):
                world.database.execute(f"UPDATE {table} SET {column} = :v", v=value)

    def test_what_is_awaited_is_counted_and_settled(self, world: World) -> None:
        search, candidate = self.one(world)
        latency, hardware = "1" * 64, "2" * 64
        awaited = [
            AwaitedEvaluation(search_id=search.id, candidate_id=candidate.id, metric=TOP1),
            AwaitedEvaluation(
                search_id=search.id,
                candidate_id=candidate.id,
                metric=LATENCY_US,
                latency_key=latency,
                hardware_key=hardware,
            ),
        ]
        world.uow.write(lambda tx: EvaluationStore(tx).await_evaluations(awaited))
        assert world.uow.read(lambda tx: EvaluationStore(tx).num_awaited_evaluations(search.id)) == 2
        assert world.uow.read(lambda tx: EvaluationStore(tx).awaited_evaluations_under(latency, hardware)) == (
            awaited[1],
        )
        assert world.uow.write(lambda tx: EvaluationStore(tx).settle_awaited(candidate.id, TOP1)) is True
        assert world.uow.write(lambda tx: EvaluationStore(tx).settle_awaited(candidate.id, TOP1)) is False
        assert world.uow.read(lambda tx: EvaluationStore(tx).awaited_evaluations_of(candidate.id)) == (awaited[1],)


class TestCandidateStates:
    def test_states_are_counted(self, world: World) -> None:
        search = run_to_end(world, world.enrol(), world.search())
        counts = world.uow.read(lambda tx: CandidateStore(tx).count_candidates_by_state(search.id))
        assert counts == {CandidateState.COMPLETE: 6}
