"""What queued candidates are expected to add, and searches that end because further ones add too little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.candidates.search import Search
from server.candidates.spec import parse_search_spec
from server.candidates.states import EndReason, SearchState
from server.core.errors import InvalidSpecError
from tests.support.samples.table_results import table_bytes
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import WorkerWorld

NSGA2 = {"kind": "nsga2", "population_size": 12}
PREDICTED = {"kind": "predictor_assisted", "num_initial": 15, "num_chosen": 5, "predictor": "ridge"}
PLATEAU = {"plateau": {"share": 0.1, "num_candidates": 10}}


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    world = WorkerWorld(sqlite_database, tmp_path)
    stored = world.artifacts.put(table_bytes(), "application/json")
    world.space_tables.register("mine", stored.sha256, world.spaces)
    return world


def searched(world: WorkerWorld, **changes: Any) -> Search:
    objectives = [{"metric": "top1"}, {"metric": "macs"}]
    document = {"space": {"id": "mine"}, "objectives": objectives, "budget": {"num_candidates": 70}, "seed": 3}
    search = world.searches.create_search(parse_search_spec({**document, **changes}))
    world.run()
    return world.searches.get_search(search.id)


@pytest.mark.parametrize("algorithm", [NSGA2, PREDICTED, {"kind": "random", "batch_size": 10}])
def test_each_candidate_carries_what_it_was_expected_to_add_once_enough_is_known(
    world: WorkerWorld, algorithm: dict[str, Any]
) -> None:
    search = searched(world, algorithm=algorithm)
    candidates = world.candidates(search)
    first = [c for c in candidates if c.expected_gain is None]
    assert 0 < len(first) < len(candidates)
    assert all("results are known, gains are predicted from" in c.expected_gain_reason for c in first)
    later = [c for c in candidates if c.expected_gain is not None]
    assert max(c.seq for c in first) < min(c.seq for c in later)
    assert all(c.expected_gain_reason == "" for c in later)
    assert any(c.expected_gain for c in later)
    gains = search.progress.report["gains"]
    assert isinstance(gains, dict)
    assert set(gains) == {"num_candidates", "last_share", "next_share"}
    assert search.progress.end_reason is None


@pytest.mark.parametrize("algorithm", [NSGA2, PREDICTED])
def test_a_plateau_ends_a_search_early_with_a_reason_for_programs_and_one_for_people(
    world: WorkerWorld, algorithm: dict[str, Any]
) -> None:
    whole = searched(world, algorithm=algorithm)
    ended = searched(world, algorithm=algorithm, stop=PLATEAU)
    assert (ended.state, ended.progress.end_reason) == (SearchState.COMPLETED, EndReason.PLATEAU)
    assert "candidates added" in ended.reason
    assert "below 10.00%" in ended.reason
    asked = [c.genotype for c in world.candidates(ended)]
    assert 20 <= len(asked) < 70
    assert asked == [c.genotype for c in world.candidates(whole)][: len(asked)]
    gains = ended.progress.report["gains"]
    assert isinstance(gains, dict)
    assert max(gains["last_share"], gains["next_share"]) < 0.1


def test_a_share_that_is_never_undercut_spends_the_budget(world: WorkerWorld) -> None:
    search = searched(world, algorithm=NSGA2, stop={"plateau": {"share": 1e-9, "num_candidates": 10}})
    assert search.progress.num_asked == 70
    assert (search.state, search.progress.end_reason) == (SearchState.COMPLETED, None)
    assert search.reason == "budget used up"


def test_a_share_of_the_whole_hypervolume_is_refused() -> None:
    document = {"space": {"id": "mine"}, "objectives": [{"metric": "top1"}], "budget": {"num_candidates": 70}}
    with pytest.raises(InvalidSpecError, match="less than 1"):
        parse_search_spec({**document, "stop": {"plateau": {"share": 1.0}}})


def test_a_spec_without_a_stop_rule_says_nothing_of_it() -> None:
    document = {"space": {"id": "mine"}, "objectives": [{"metric": "top1"}], "budget": {"num_candidates": 70}}
    assert "stop" not in parse_search_spec(document).model_dump(mode="json")
