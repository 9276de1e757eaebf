"""Constraints that nothing meets: how a search ends, and what is said before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_engine.domain.metrics import LATENCY_US
from nas_engine.domain.objective import Constraint
from nas_engine.domain.uncertainty import value_text
from server.artifacts.files import FileByteStore
from server.candidates.states import CandidateState, EndReason, SearchState
from server.searches.answers.answer import Answers
from server.searches.answers.wording import headline, next_steps
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import SPEC, World, run_to_end

TOO_FAST = [{"metric": "latency_us", "maximum": 10}]


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def test_a_search_that_nothing_satisfied_fails_and_names_the_nearest(world: World) -> None:
    device = world.enrol()
    search = run_to_end(world, device, world.search(constraints=TOO_FAST))
    assert search.state is SearchState.FAILED
    assert search.progress.end_reason is EndReason.NO_FEASIBLE_CANDIDATE
    nearest = min(world.candidates(search), key=lambda candidate: candidate.values[LATENCY_US])
    assert search.reason == (
        f"no candidate met latency <= 10 us: nearest {_us(nearest.values[LATENCY_US])}, arch {nearest.arch_id[:12]}; "
        "6 infeasible"
    )
    assert world.states(search) == [CandidateState.COMPLETE] * 6, "what was measured stays"
    front = world.fronts.of_search(search.id, with_dominated=True)
    assert (front.num_complete, front.num_feasible, len(front.dominated)) == (6, 0, 6)


def test_the_answer_of_such_a_search_says_why_and_what_comes_nearest(world: World) -> None:
    device = world.enrol()
    bounds = [{"metric": "macs", "maximum": 1e9}, *TOO_FAST]
    search = run_to_end(world, device, world.search(constraints=bounds))
    for bound in ((), (Constraint(LATENCY_US, maximum=1e6),)):
        answer = Answers(world.uow, world.fronts).of_search(search.id, bound)
        assert answer.unknown == (), "there are latencies, if none within the search's own bound"
        assert headline(answer).endswith(
            "nothing, none of the 6 complete candidates of the search meets its own constraints, "
            "MACs <= 1,000,000,000 and latency <= 10 us"
        )
        nearest, front = next_steps(answer)
        assert nearest.command == f"hilnas search candidates {search.short_id} --order-by latency_us --limit 5"
        assert front.command == f"hilnas search front {search.short_id}"


def test_of_two_bounds_both_are_named_with_what_the_nearest_has(world: World) -> None:
    device = world.enrol()
    bounds = [*TOO_FAST, {"metric": "macs", "maximum": 22_000}]
    search = run_to_end(world, device, world.search(constraints=bounds))
    assert search.reason.startswith("no candidate met latency <= 10 us and MACs <= 22,000: nearest latency ")
    assert ", MACs " in search.reason


def test_one_that_meets_the_bound_completes_the_search(world: World) -> None:
    device = world.enrol()
    first = run_to_end(world, device, world.search())
    fastest = min(candidate.values[LATENCY_US] for candidate in world.candidates(first))
    bounds = [{"metric": "latency_us", "maximum": fastest}]
    search = run_to_end(world, device, world.search(constraints=bounds))
    assert (search.state, search.progress.end_reason) == (SearchState.COMPLETED, None)
    assert (search.reason, search.progress.warnings) == ("", ())


def test_what_was_measured_warns_of_a_bound_before_the_search_starts(world: World) -> None:
    device = world.enrol()
    assert world.searches.validate(world.spec(constraints=TOO_FAST)).warnings == (), "nothing is known yet"
    measured = {c.arch_id: c.values[LATENCY_US] for c in world.candidates(run_to_end(world, device, world.search()))}
    fastest, slowest = min(measured, key=measured.__getitem__), max(measured, key=measured.__getitem__)
    begun = "none of the 6 architectures of toy that were measured on this hardware meets"
    (warning,) = world.searches.validate(world.spec(constraints=TOO_FAST)).warnings
    assert warning == f"{begun} latency <= 10 us: nearest {_us(measured[fastest])}, arch {fastest[:12]}"
    assert world.search(constraints=TOO_FAST).progress.warnings == (warning,)
    slow = [{"metric": "latency_us", "minimum": 1e6}]
    (warning,) = world.searches.validate(world.spec(constraints=slow)).warnings
    assert warning == f"{begun} latency >= 1,000 ms: nearest {_us(measured[slowest])}, arch {slowest[:12]}"


def test_a_space_with_other_parameters_warns_of_nothing(world: World) -> None:
    device = world.enrol()
    run_to_end(world, device, world.search())
    space = {"id": SPEC["space"]["id"], "parameters": {"num_classes": 37}}
    report = world.searches.validate(world.spec(constraints=TOO_FAST, space=space, dataset=None, supernet=None))
    assert report.violations == ()
    assert report.warnings == ()


def _us(value_us: float) -> str:
    return value_text(value_us, "us")
