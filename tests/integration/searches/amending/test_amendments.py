"""Searches amended while the real worker steps them: what follows, what is kept, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.metrics import LATENCY_US, MACS, TOP1
from nas_engine.settings.algorithms import Nsga2Settings
from server.candidates.search import Search
from server.candidates.spec import parse_search_spec
from server.candidates.states import EndReason, SearchState
from server.core.errors import InvalidSpecError, InvalidStateTransitionError, LeaseLostError
from server.core.paging import PageRequest
from server.searches.amending.amendment import Amendment, SearchAmendment
from tests.support.samples.table_results import table_bytes
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import WorkerWorld

DOCUMENT: dict[str, Any] = {
    "space": {"id": "mine"},
    "objectives": [{"metric": "top1"}, {"metric": "macs"}],
    "algorithm": {"kind": "nsga2", "population_size": 12},
    "budget": {"num_candidates": 60},
    "seed": 3,
}
ALGORITHMS: tuple[dict[str, Any], ...] = (
    {"kind": "nsga2", "population_size": 12},
    {"kind": "nsga2", "population_size": 12, "constraint_handling": "reject"},
    {"kind": "scarlet_nsga2", "population_size": 12},
    {"kind": "predictor_assisted", "num_initial": 15, "num_chosen": 5, "predictor": "ridge"},
    {"kind": "random", "batch_size": 12},
)


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    world = WorkerWorld(sqlite_database, tmp_path)
    stored = world.artifacts.put(table_bytes(), "application/json")
    world.space_tables.register("mine", stored.sha256, world.spaces)
    return world


def begun(world: WorkerWorld, num_steps: int = 2, **changes: Any) -> Search:
    search = world.searches.create_search(parse_search_spec({**DOCUMENT, **changes}))
    for _ in range(num_steps):
        job = world.claim()
        assert job is not None
        world.do(job)
    return world.searches.get_search(search.id)


def amend(world: WorkerWorld, search: Search, **patch: Any) -> Search:
    return world.searches.amend(search.id, SearchAmendment(patch=patch))


def amendments(world: WorkerWorld, search: Search) -> tuple[Amendment, ...]:
    return world.searches.page_of_amendments(search.id, PageRequest(100)).items


def median(world: WorkerWorld, search: Search, metric: Any) -> float:
    values = sorted(c.values[metric] for c in world.candidates(search))
    return values[len(values) // 2]


def ended(world: WorkerWorld, search: Search) -> Search:
    world.restart()  # a worker that remembers nothing
    world.run()
    return world.searches.get_search(search.id)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda one: "-".join(map(str, one.values())))
def test_a_bound_on_what_is_measured_is_followed_from_the_next_step_on(
    world: WorkerWorld, algorithm: dict[str, Any]
) -> None:
    search = begun(world, algorithm=algorithm)
    limit = median(world, search, TOP1)
    amend(world, search, constraints=[{"metric": "top1", "minimum": limit}])
    standing = world.fronts.of_search(search.id)
    assert standing.points
    assert all(c.values[TOP1] >= limit for c in standing.points)
    (shown,) = world.fronts.as_it_stands([world.searches.get_search(search.id)])
    assert shown.progress.front_size == len(standing.points)
    done = ended(world, search)
    assert (done.state, done.progress.num_asked) == (SearchState.COMPLETED, 60)
    front = world.fronts.of_search(search.id)
    assert done.progress.front_size == len(front.points)
    assert all(c.values[TOP1] >= limit for c in front.points)
    assert done.progress.num_unmet == sum(c.values[TOP1] < limit for c in world.candidates(search))


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda one: "-".join(map(str, one.values())))
def test_nothing_beyond_a_new_cheap_bound_is_asked_and_what_was_is_infeasible(
    world: WorkerWorld, algorithm: dict[str, Any]
) -> None:
    search = begun(world, algorithm=algorithm)
    num_before, limit = len(world.candidates(search)), median(world, search, MACS)
    amend(world, search, constraints=[{"metric": "macs", "maximum": limit}])
    done = ended(world, search)
    asked = world.candidates(search)
    assert len(asked) > num_before
    assert all(c.values[MACS] <= limit for c in asked[num_before:])
    assert any(c.values[MACS] > limit for c in asked[:num_before])
    assert all(c.values[MACS] <= limit for c in world.fronts.of_search(search.id).points)
    assert done.progress.num_unmet == sum(c.values[MACS] > limit for c in asked)


def test_a_bound_that_is_taken_away_lets_survivors_in_that_missed_it(world: WorkerWorld) -> None:
    free = begun(world, 5, budget={"num_candidates": 48})
    limit = median(world, free, TOP1)
    search = begun(world, constraints=[{"metric": "top1", "maximum": limit}], budget={"num_candidates": 48})
    amend(world, search, constraints=[])
    done = ended(world, search)
    assert done.state is SearchState.COMPLETED
    front = world.fronts.of_search(search.id)
    assert max(c.values[TOP1] for c in front.points) > limit
    assert {c.id for c in front.points} <= {c.id for c in world.candidates(search)}


def test_a_bound_on_what_is_no_objective_is_changed_and_taken_away(world: WorkerWorld) -> None:
    search = begun(world, constraints=[{"metric": "latency_us", "maximum": 1e6}])
    limit = median(world, search, LATENCY_US)
    amend(world, search, constraints=[{"metric": "latency_us", "maximum": limit}])
    world.do(claimed(world))
    assert all(c.values[LATENCY_US] <= limit for c in world.fronts.of_search(search.id).points)
    amend(world, search, constraints=[])
    done = ended(world, search)
    assert (done.state, done.progress.num_asked) == (SearchState.COMPLETED, 60)
    # What nobody wants any more is not looked up any more, and cannot be wanted again.
    other = begun(world, constraints=[{"metric": "latency_us", "maximum": 1e6}])
    amend(world, other, constraints=[])
    with pytest.raises(InvalidSpecError, match="no value of latency_us: constrain one of .*clone the search"):
        amend(world, other, constraints=[{"metric": "latency_us", "maximum": 1e6}])


def claimed(world: WorkerWorld) -> Any:
    job = world.claim()
    assert job is not None
    return job


def test_a_search_that_is_amended_to_what_it_is_asks_as_an_unamended_one(world: WorkerWorld) -> None:
    plain = begun(world)
    plain = ended(world, plain)
    search = begun(world)
    amend(world, search, budget={"num_candidates": 61})
    amend(world, search, budget={"num_candidates": 60}, stop={"wall_time_s": 1e6})
    amend(world, search, stop=None, labels={"team": "vision"}, priority=-1)
    done = ended(world, search)
    assert [c.genotype for c in world.candidates(done)] == [c.genotype for c in world.candidates(plain)]
    assert done.spec.labels == {"team": "vision"}


def test_a_step_under_way_is_done_again_by_the_amended_spec(world: WorkerWorld) -> None:
    search = begun(world)
    step = claimed(world)
    num_asked = search.progress.num_asked
    amend(world, search, budget={"num_candidates": num_asked})
    with pytest.raises(LeaseLostError):
        world.do(step)
    done = ended(world, search)
    assert (done.state, done.progress.num_asked, done.reason) == (SearchState.COMPLETED, num_asked, "budget used up")


def test_a_search_goes_on_with_more_budget_and_ends_by_a_rule_that_is_added(world: WorkerWorld) -> None:
    search = begun(world)
    amend(world, search, budget={"num_candidates": 80})
    best = max(world.candidates(search), key=lambda c: c.values[TOP1])
    amend(world, search, stop={"target": [{"metric": "top1", "minimum": best.values[TOP1]}]})
    done = ended(world, search)
    assert done.progress.end_reason is EndReason.TARGET
    assert done.reason.startswith(f"target: candidate {best.seq} has ")
    assert done.progress.num_asked == search.progress.num_asked


def test_what_was_amended_is_kept_with_when_and_the_spec_as_it_was_launched(world: WorkerWorld) -> None:
    search = begun(world)
    assert world.searches.launched_spec(search.id) is None
    amend(world, search, budget={"num_candidates": 70})
    world.searches.amend(search.id, SearchAmendment(num_candidates=80))
    amend(world, search, budget={"num_candidates": 80})  # no change
    amend(world, search, constraints=[{"metric": "macs", "maximum": 1e9}], stop={"wall_time_s": 60})
    third, second, first = amendments(world, search)
    assert [one.seq for one in (first, second, third)] == [1, 2, 3]
    (change,) = first.changes
    assert (change.pointer, change.old, change.new) == ("/budget/num_candidates", 60, 70)
    assert [(c.old, c.new) for c in second.changes] == [(70, 80)]
    changes = {c.pointer: (c.old, c.new) for c in third.changes}
    assert changes["/constraints"][0] == []
    assert changes["/stop"] == (None, {"plateau": None, "wall_time_s": 60.0})
    assert (first.changes_constraints, third.changes_constraints) == (False, True)
    assert (first.step_seq, first.token_id, first.principal) == (2, None, None)
    assert world.searches.launched_spec(search.id) == search.spec


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (
            {"budget": {"num_candidates": 5}},
            "24 candidates were asked already.*; 24 asks",
        ),
        ({"budget": None}, "budget"),
        ({"seed": 4}, "/seed: cannot be amended while a search runs, only budget, constraints, stop"),
        ({"objectives": [{"metric": "macs"}]}, "clone the search with this change instead"),
        ({"constraints": [{"metric": "macs", "maximum": 1}]}, "the feasible range is"),
        ({"constraints": [{"metric": "macs", "maximum": float("inf")}]}, "finite"),
        ({"constraints": [{"metric": "latency_us", "maximum": 100}]}, "have no value of latency_us"),
        ({"constraints": [{"metric": "peak_activation_bytes", "maximum": 100}]}, "without a column"),
        ({"constraints": {"metric": "macs"}}, "constraints"),
        ({"stop": {"target": [{"metric": "latency_us", "maximum": 1}]}}, "which this search does not have"),
        ({"stop": {"wall_time_s": -1}}, "wall_time_s"),
    ],
)
def test_an_amendment_that_cannot_be_is_refused_and_changes_nothing(
    world: WorkerWorld, patch: dict[str, Any], message: str
) -> None:
    search = begun(world)
    with pytest.raises(InvalidSpecError, match=message):
        amend(world, search, **patch)
    assert world.searches.get_search(search.id) == search
    assert amendments(world, search) == ()


def test_a_search_that_is_over_says_what_to_do_instead(world: WorkerWorld) -> None:
    search = begun(world, budget={"num_candidates": 12})
    done = ended(world, search)
    assert done.state is SearchState.COMPLETED
    with pytest.raises(InvalidStateTransitionError, match=rf"{search.id}:clone.*warm_start.search: {search.id}"):
        amend(world, search, budget={"num_candidates": 20})
    assert amend(world, search, labels={"a": "b"}).spec.labels == {"a": "b"}


def test_a_paused_search_is_amended_and_resumes_with_it(world: WorkerWorld) -> None:
    search = begun(world)
    world.searches.pause(search.id)
    limit = median(world, search, TOP1)
    amend(world, search, constraints=[{"metric": "top1", "minimum": limit}])
    world.run()
    assert world.searches.get_search(search.id).state is SearchState.PAUSED
    world.searches.resume(search.id)
    done = ended(world, search)
    assert (done.state, done.progress.num_asked) == (SearchState.COMPLETED, 60)
    assert isinstance(done.spec.algorithm, Nsga2Settings)
    assert all(c.values[TOP1] >= limit for c in world.fronts.of_search(search.id).points)
