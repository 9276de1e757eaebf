"""A table of costs that was imported: what a search pays with, through the command, the checks and the real worker."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_engine.cost.cost_table import MEDIA_TYPE, cost_table_document
from nas_engine.cost.latency_table import mac_costs
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from server.artifacts.artifacts import Artifacts
from server.candidates.states import SearchState
from server.core.errors import InvalidSpecError
from tests.integration.searches.test_densenas_search_served import ALGORITHM
from tests.support.commands import tables
from tests.support.worlds.api_world import ADMIN, World
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.served_world import served
from tests.support.worlds.table_world import DENSE_SPACE
from tests.support.worlds.worker_world import WorkerWorld

OBJECTIVES = [{"metric": "macs"}]


def dense_space() -> DenseSpace:
    space = create_space(DENSE_SPACE["id"], DENSE_SPACE["parameters"])
    assert isinstance(space, DenseSpace)
    return space


def table(factor: float = 1.0) -> bytes:
    """Millions of MACs as if they were milliseconds."""
    return cost_table_document(dense_space(), mac_costs(dense_space()).scaled(factor, "ms"), "a test")


@pytest.fixture
def worker(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    return WorkerWorld(sqlite_database, tmp_path)


def test_a_search_pays_with_an_imported_table(worker: WorkerWorld) -> None:
    sha256 = worker.artifacts.put(table(), MEDIA_TYPE).sha256
    algorithm = {**ALGORITHM, "cost_factors": [20.0]}
    paid, counted = (
        worker.ran(space=DENSE_SPACE, algorithm={**algorithm, **more}, objectives=OBJECTIVES)
        for more in ({"cost_table": sha256, "derived_from": "best_epoch"}, {})
    )
    assert (paid.state, counted.state) == (SearchState.COMPLETED, SearchState.COMPLETED), paid.reason
    (of_table,), (of_macs,) = worker.report(paid, "derived"), worker.report(counted, "derived")
    assert (of_table["cost_unit"], of_macs["cost_unit"]) == ("ms", "MMACs")
    # The same numbers in another unit move the parameters in the same way.
    assert of_table["expected_cost"] == pytest.approx(of_macs["expected_cost"])
    assert 1 < of_table["best_epoch"] <= ALGORITHM["epochs"]
    assert "best_epoch" not in of_macs


def test_what_is_no_imported_table_of_the_space_is_refused(worker: WorkerWorld) -> None:
    def refused(sha256: str, message: str, **more: Any) -> None:
        with pytest.raises(InvalidSpecError, match=message):
            worker.search(
                space=DENSE_SPACE, algorithm={**ALGORITHM, "cost_table": sha256, **more}, objectives=OBJECTIVES
            )

    refused("0" * 64, "there is no imported cost table")
    refused(worker.artifacts.put(b"other bytes", "text/plain").sha256, "an artifact of type text/plain")
    other = replace(mac_costs(dense_space()), unit="ms", endings=())
    content = cost_table_document(dense_space(), other, "x")
    refused(worker.artifacts.put(content, MEDIA_TYPE).sha256, "endings: 0 values, this routing needs")
    good = worker.artifacts.put(table(2.0), MEDIA_TYPE).sha256
    refused(good, "latency_table and cost_table are both given", latency_table="ltab_1")


def test_the_command_uploads_what_a_spec_names(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(mac_costs(dense_space()).published_layout()))
    parameters = json.dumps(DENSE_SPACE["parameters"])
    command = ["import", str(file), "--space", "densenas-mbv2", "--parameters", parameters, "--source", "a test"]
    with served(world) as url:
        monkeypatch.setenv("HILNAS_URL", url)
        monkeypatch.setenv("HILNAS_TOKEN", ADMIN)
        assert tables.main(command) == 0
        printed = capsys.readouterr().out.split()[-1]  # the server of this process logs there too
        assert tables.main(["import", str(file), "--space", "spos"]) == 1
        assert "densely connected" in capsys.readouterr().err
        assert tables.main(["import", str(file), "--space", "densenas-mbv2"]) == 1
        assert "this routing needs" in capsys.readouterr().err
    assert printed == hashlib.sha256(table()).hexdigest()
    assert world.process.get(Artifacts).read(printed) == table()
