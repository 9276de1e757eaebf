"""A table of costs that was imported: what a search pays with, through the command, the checks and the real worker."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hilnas
from nas_engine.cost.cost_table import MEDIA_TYPE, TableLayout, cost_table_document
from nas_engine.cost.latency_table import mac_costs, operator_graphs
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.spaces.densenas.space import DenseSpace
from nas_engine.spaces.registry import create_space
from server.artifacts.artifacts import Artifacts
from server.candidates.states import SearchState
from server.core.errors import InvalidSpecError
from server.latency_tables.imported.cost_tables import MAX_LISTED_BYTES
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


def table(factor: float = 1.0, layout: TableLayout | None = None) -> bytes:
    """Millions of MACs as if they were milliseconds."""
    return cost_table_document(dense_space(), mac_costs(dense_space()).scaled(factor, "ms"), "a test", layout)


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


def test_a_search_pays_with_an_imported_table_by_either_estimate(worker: WorkerWorld) -> None:
    sha256 = worker.artifacts.put(table(layout=TableLayout.PUBLISHED), MEDIA_TYPE).sha256
    algorithm = {**ALGORITHM, "cost_factors": [20.0], "cost_table": sha256}
    chained, local = (
        worker.ran(space=DENSE_SPACE, algorithm={**algorithm, "cost_estimation": how}, objectives=OBJECTIVES)
        for how in ("chained", "local")
    )
    assert (chained.state, local.state) == (SearchState.COMPLETED, SearchState.COMPLETED), local.reason
    (of_chained,), (of_local,) = worker.report(chained, "derived"), worker.report(local, "derived")
    assert (of_chained["cost_unit"], of_local["cost_unit"]) == ("ms", "ms")
    # The local estimate counts every block whole, whether a path reaches it or not.
    assert of_local["expected_cost"] > of_chained["expected_cost"]


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
    assert printed == hashlib.sha256(table(layout=TableLayout.PUBLISHED)).hexdigest()
    assert world.process.get(Artifacts).read(printed) == table(layout=TableLayout.PUBLISHED)


def test_imported_tables_are_listed_with_what_they_are(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = mac_costs(dense_space()).published_layout()
    nested, rows = tmp_path / "mine.json", tmp_path / "rows.csv"
    nested.write_text(json.dumps(costs))
    operators = operator_graphs(dense_space(), batch=1, dtype=Dtype.FP32)
    rows.write_text("label,latency_us\n" + "".join(f"{one.label},{i + 1}\n" for i, one in enumerate(operators)))
    space = ["--space", "densenas-mbv2", "--parameters", json.dumps(DENSE_SPACE["parameters"])]
    artifacts = world.process.get(Artifacts)
    earlier = artifacts.put(table(3.0), MEDIA_TYPE)  # before forms were written down
    broken = artifacts.put(b'{"kind": "cost table"}', MEDIA_TYPE)
    large = artifacts.put(b" " * (MAX_LISTED_BYTES + 1), MEDIA_TYPE)
    other = artifacts.put(b"{}", "application/json")

    with served(world) as url:
        monkeypatch.setenv("HILNAS_URL", url)
        monkeypatch.setenv("HILNAS_TOKEN", ADMIN)
        monkeypatch.setenv("COLUMNS", "250")

        def ran(*argv: str, ends_with: int = 0) -> str:
            assert tables.main([*argv]) == ends_with
            printed = capsys.readouterr()
            return printed.err if ends_with else printed.out

        def answered(*argv: str) -> Any:
            lines = ran(*argv).splitlines()  # the server of this process logs there too
            return next(json.loads(line) for line in lines if line.startswith(("[{", '{"kind"')))

        published, csv = (
            ran("import", str(file), *space, "--source", source).split()[-1]
            for file, source in ((nested, "the authors"), (rows, "my bench"))
        )
        listed = {one["id"]: one for one in answered("list", "--json")}
        assert {one["kind"] for one in listed.values()} == {"imported"}
        assert set(listed) == {published, csv, earlier.sha256, broken.sha256, large.sha256}
        num_entries = sum(bool(one.strip("[] ")) for one in json.dumps(costs).split(","))
        figures = ("source", "layout", "unit", "num_entries", "space_id", "problem")
        assert [listed[published][name] for name in figures] == [
            "the authors", "published", "ms", num_entries, "densenas-mbv2", ""
        ]  # fmt: skip
        assert [listed[csv][name] for name in figures] == ["my bench", "csv", "us", num_entries, "densenas-mbv2", ""]
        assert listed[published]["owner"]["name"]
        assert [listed[earlier.sha256][name] for name in ("layout", "num_entries")] == [None, num_entries]
        assert "schema" in listed[broken.sha256]["problem"]
        assert "no table of a space has more" in listed[large.sha256]["problem"]
        shown = ran("list")
        assert published[:12] in shown
        assert "cannot be read" in shown

        found = answered("get", published[:10])
        assert found["costs"] == costs
        assert "my bench" in ran("show", csv[:10])
        assert "no " in ran("get", other.sha256, ends_with=1)
        assert "nothing-of-the-kind" in ran("show", "nothing-of-the-kind", ends_with=1)
        with hilnas.connect(url, token=ADMIN) as nas:
            assert {one.sha256 for one in nas.latency_tables.imported()} == set(listed)
            assert nas.latency_tables.get_imported(csv).layout is TableLayout.CSV

    pages: list[list[str]] = []
    query: dict[str, Any] = {"page_size": 2}
    while "page_token" not in query or query["page_token"]:
        page = world.client().get("/api/v1/cost-tables", params=query).json()
        pages.append([one["sha256"] for one in page["items"]])
        query["page_token"] = page["next_page_token"]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {one for page in pages for one in page} == set(listed)
    assert world.client().get("/api/v1/cost-tables", params={"owner": "nobody-of-the-kind"}).json()["items"] == []
    assert world.client().get(f"/api/v1/cost-tables/{other.sha256}").status_code == 404
