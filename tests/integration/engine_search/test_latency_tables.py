"""Latency tables through the API, with the real worker and boards played by hand."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nas_engine.cost.latency_table import operator_graphs
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.spaces.registry import create_space
from tests.support.worlds.api_world import World
from tests.support.worlds.table_world import BATCH, StepWorker
from tests.support.worlds.worker_world import TINY_SPACE


@pytest.fixture
def worker(world: World, tmp_path: Path) -> StepWorker:
    return StepWorker(world, tmp_path)


def table_spec(batch: int = BATCH) -> dict[str, Any]:
    return {"space": TINY_SPACE, "device": {"device_type": "rk3588", "batch": batch}}


def ordered(client: httpx2.Client, spec: dict[str, Any]) -> Any:
    answer = client.post("/api/v1/latency-tables", json=spec)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/api/v1/latency-tables/{answer.json()['id']}"
    return answer.json()


def read(client: httpx2.Client, table_id: str) -> Any:
    answer = client.get(f"/api/v1/latency-tables/{table_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_operator_of_a_space_is_measured_once_under_its_key(
    world: World, client: httpx2.Client, worker: StepWorker
) -> None:
    board = world.enrol()
    space = create_space(TINY_SPACE["id"], TINY_SPACE["parameters"])
    expected = {o.key: o.label for o in operator_graphs(space, batch=BATCH, dtype=Dtype.FP32)}
    table = ordered(client, table_spec())
    assert (table["state"], table["num_operators"], table["num_measured"]) == ("running", len(expected), 0)
    worker.run()
    assert world.measure_all(board) == len(expected)
    worker.run()
    table = read(client, table["id"])
    assert (table["state"], table["num_measured"], table["batch"]) == ("completed", len(expected), BATCH)
    assert {row["latency_key"]: row["label"] for row in table["rows"]} == expected
    assert all(row["latency_us"] > 0 for row in table["rows"])


def test_a_second_table_measures_nothing_again_but_another_batch_does(
    world: World, client: httpx2.Client, worker: StepWorker
) -> None:
    board = world.enrol()
    first = ordered(client, table_spec())
    worker.run()
    world.measure_all(board)
    worker.run()
    again = ordered(client, table_spec())
    worker.run()
    assert world.measure_all(board) == 0
    assert read(client, again["id"])["rows"][0]["latency_us"] is not None
    assert read(client, again["id"])["num_measured"] == first["num_operators"]
    ordered(client, table_spec(batch=1))
    worker.run()
    assert world.measure_all(board) > 0


def test_a_search_is_no_latency_table(world: World, client: httpx2.Client) -> None:
    world.enrol()
    spec = {"space": TINY_SPACE, "objectives": [{"metric": "macs"}], "budget": {"num_candidates": 2}}
    search = client.post("/api/v1/searches", json=spec).json()
    assert client.get(f"/api/v1/latency-tables/{search['id']}").status_code == 404


def test_a_table_of_an_unknown_space_or_device_is_refused(world: World, client: httpx2.Client) -> None:
    for spec in (table_spec(), {**table_spec(), "space": {"id": "operators"}}):
        answer = client.post("/api/v1/latency-tables", json=spec)
        assert answer.status_code == 422, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_tables_are_listed_and_their_rows_exported(world: World, client: httpx2.Client, worker: StepWorker) -> None:
    board = world.enrol()
    table = ordered(client, table_spec())
    worker.run()
    world.measure_all(board)
    listed = client.get("/api/v1/latency-tables").json()["items"]
    assert [(one["id"], one["num_operators"]) for one in listed] == [(table["id"], table["num_operators"])]
    assert "rows" not in listed[0]
    exported = client.get(f"/api/v1/latency-tables/{table['id']}", headers={"Accept": "text/csv"}).text
    rows = list(csv.DictReader(io.StringIO(exported)))
    assert [float(row["latency_us"]) for row in rows] == [
        row["latency_us"] for row in read(client, table["id"])["rows"]
    ]
    lines = client.get(f"/api/v1/latency-tables/{table['id']}", headers={"Accept": "application/x-ndjson"}).text
    assert len(lines.splitlines()) == table["num_operators"]
