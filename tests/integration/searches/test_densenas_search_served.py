"""DenseNAS chosen by the search spec, through the real worker and database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.candidates.states import SearchState
from server.core.errors import InvalidSpecError
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.table_world import DENSE_SPACE
from tests.support.worlds.worker_world import WorkerWorld

ALGORITHM: dict[str, Any] = {
    "kind": "densenas",
    "cost_factors": [0.0, 20.0, 20.0],
    "cost_base": 1.5,
    "dataset": "stripes",
    "epochs": 4,
    "first_architecture_epoch": 1,
    "batch_size": 12,
    "architecture_learning_rate": 0.3,
    "augmentation": "none",
}


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def test_every_cost_factor_gives_an_architecture_that_is_a_candidate(world: WorkerWorld) -> None:
    search = world.ran(space=DENSE_SPACE, algorithm=ALGORITHM, objectives=[{"metric": "macs"}])
    assert search.state is SearchState.COMPLETED, search.reason
    derived = world.report(search, "derived")
    assert [d["cost_factor"] for d in derived] == [0.0, 20.0, 20.0]
    # The same seed and factor derive the same architecture, which is one candidate.
    assert derived[1]["genotype"] == derived[2]["genotype"]
    assert not derived[2]["new"]
    assert [list(c.genotype) for c in world.candidates(search)] == [d["genotype"] for d in derived if d["new"]]
    assert derived[1]["expected_cost"] < derived[0]["expected_cost"]
    assert {d["cost_unit"] for d in derived} == {"MMACs"}


def test_densenas_does_not_evaluate_accuracy(world: WorkerWorld) -> None:
    with pytest.raises(InvalidSpecError, match="retrain"):
        world.search(space=DENSE_SPACE, algorithm=ALGORITHM, objectives=[{"metric": "top1"}], supernet="sup_1")
