"""What a clone takes over from a search whose supernet was trained with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.training import TrainingSpec
from server.candidates.search import Search
from server.candidates.spec import parse_search_spec
from server.core.errors import InvalidSpecError
from server.core.paging import PageRequest
from server.searches.cloning.cloned_spec import cloned_document
from server.training.training import TrainingQuery
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.worker_world import EVALUATION, SPEC, TRAINING, WorkerWorld


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


@pytest.fixture
def search(world: WorkerWorld) -> Search:
    objectives = [{"metric": "top1"}, {"metric": "macs"}]
    return world.search(objectives=objectives, supernet=TRAINING, evaluation=EVALUATION)


def cloned(world: WorkerWorld, search: Search, patch: JsonValue, **how: Any) -> Search:
    document = cloned_document(search, search.spec, patch, train_again=how.get("train_again", False))
    return world.searches.create_search(parse_search_spec(document), cloned_from=search.id)


def num_supernets(world: WorkerWorld) -> int:
    return len(world.supernets.page_of_trainings(TrainingQuery(), PageRequest(100)).items)


def test_a_supernet_that_was_trained_with_it_is_used_and_not_trained_again(world: WorkerWorld, search: Search) -> None:
    clone = cloned(world, search, {"budget": {"num_candidates": 5}})
    assert (clone.supernet_id, clone.spec.supernet) == (search.supernet_id, search.supernet_id)
    assert (clone.cloned_from, clone.spec.budget.num_candidates) == (search.id, 5)
    assert num_supernets(world) == 1


def test_it_is_trained_again_where_that_is_asked_or_its_training_changed(world: WorkerWorld, search: Search) -> None:
    again = cloned(world, search, {}, train_again=True)
    changed = cloned(world, search, {"supernet": {"iterations": 5}})
    assert isinstance(again.spec.supernet, TrainingSpec)
    assert isinstance(changed.spec.supernet, TrainingSpec)
    assert again.spec.supernet == search.spec.supernet
    assert (changed.spec.supernet.iterations, changed.spec.supernet.batch_size) == (5, TRAINING["batch_size"])
    assert len({search.supernet_id, again.supernet_id, changed.supernet_id}) == num_supernets(world) == 3


def test_another_supernet_may_be_named(world: WorkerWorld, search: Search) -> None:
    other = world.ready_supernet()
    assert cloned(world, search, {"supernet": other.id}).supernet_id == other.id


def test_settings_of_another_kind_of_algorithm_are_left_out(world: WorkerWorld) -> None:
    search = world.search(**{**SPEC, "algorithm": {"kind": "nsga2", "population_size": 12}})
    same = cloned_document(search, search.spec, {"algorithm": {"kind": "nsga2", "num_offspring": 3}}, train_again=False)
    assert isinstance(same["algorithm"], dict)
    assert (same["algorithm"]["population_size"], same["algorithm"]["num_offspring"]) == (12, 3)
    other = cloned(world, search, {"algorithm": {"kind": "random"}})
    assert other.spec.algorithm.kind == "random"


def test_a_patch_that_is_no_object_is_refused(search: Search) -> None:
    with pytest.raises(InvalidSpecError, match="an object of its members, not list"):
        cloned_document(search, search.spec, [], train_again=False)
