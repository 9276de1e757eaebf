"""Reports of latency tables through the API: estimates of sampled networks against their measurements."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nas_engine.domain.search_space import SearchSpace
from nas_engine.spaces.registry import create_space
from tests.support.worlds.api_world import World
from tests.support.worlds.table_world import (
    BATCH,
    DENSE_SPACE,
    OVERHEAD_US,
    StepWorker,
    complete_table,
    measure_by_formula,
)
from tests.support.worlds.worker_world import TINY_SPACE

NUM_NETWORKS = 8


@pytest.fixture
def worker(world: World, tmp_path: Path) -> StepWorker:
    return StepWorker(world, tmp_path)


def space_of(document: dict[str, Any]) -> SearchSpace:
    return create_space(document["id"], document["parameters"])


def table_spec(space: dict[str, Any]) -> dict[str, Any]:
    return {"space": space, "device": {"device_type": "rk3588", "batch": BATCH}}


def ordered(client: httpx2.Client, table_id: str, **spec: Any) -> Any:
    answer = client.post(f"/api/v1/latency-tables/{table_id}/reports", json={"num_networks": NUM_NETWORKS, **spec})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/api/v1/latency-tables/{table_id}/reports/{answer.json()['id']}"
    return answer.json()


def read(client: httpx2.Client, table_id: str, report_id: str) -> Any:
    answer = client.get(f"/api/v1/latency-tables/{table_id}/reports/{report_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_report_compares_chained_and_local_cost_with_measured_networks(
    world: World, client: httpx2.Client, worker: StepWorker
) -> None:
    board, space = world.enrol(), space_of(DENSE_SPACE)
    table_id = complete_table(world, client, worker, board, space, table_spec(DENSE_SPACE))
    report = ordered(client, table_id, seed=3, logit_std=4.0)
    assert (report["num_networks"], report["agreements"], report["num_measured"]) == (NUM_NETWORKS, [], 0)
    worker.run()
    before = read(client, table_id, report["id"])
    # What the table says stands before anybody measures.
    assert [row["latency_us"] for row in before["rows"]] == [None] * NUM_NETWORKS
    assert all(set(row["estimates_us"]) == {"chained", "local", "operators"} for row in before["rows"])
    assert measure_by_formula(world, board, space) == NUM_NETWORKS
    worker.run()
    done = read(client, table_id, report["id"])
    assert (done["state"], done["num_measured"]) == ("completed", NUM_NETWORKS)
    assert [row["estimates_us"] for row in done["rows"]] == [row["estimates_us"] for row in before["rows"]]
    by_name = {found["estimator"]: found for found in done["agreements"]}
    assert list(by_name) == ["chained", "local", "operators"]
    # Networks take their operators and an overhead, so the plain sum has the order, and is off by the overhead.
    operators = by_name["operators"]
    assert operators["kendall_tau"] == 1.0
    assert operators["mean_error_us"] == pytest.approx(-OVERHEAD_US, abs=0.1)
    assert operators["mean_absolute_error_us"] == pytest.approx(OVERHEAD_US, abs=0.1)
    measured = [row["latency_us"] for row in done["rows"]]
    relative = sum(OVERHEAD_US / latency for latency in measured) / NUM_NETWORKS
    assert operators["mean_relative_error"] == pytest.approx(relative, abs=1e-3)
    chained_errors = [row["estimates_us"]["chained"] - row["latency_us"] for row in done["rows"]]
    assert by_name["chained"]["mean_error_us"] == pytest.approx(sum(chained_errors) / NUM_NETWORKS)
    # Of the networks' own operators, the chained cost of decided parameters is nearer than the sum over all blocks.
    errors = {
        name: sum(abs(row["estimates_us"][name] - row["latency_us"] + OVERHEAD_US) for row in done["rows"])
        for name in ("chained", "local")
    }
    assert errors["chained"] < errors["local"]


def test_the_same_seed_samples_the_same_networks_and_measures_nothing_again(
    world: World, client: httpx2.Client, worker: StepWorker
) -> None:
    board, space = world.enrol(), space_of(DENSE_SPACE)
    table_id = complete_table(world, client, worker, board, space, table_spec(DENSE_SPACE))
    reports = []
    for _ in range(2):
        reports.append(ordered(client, table_id, seed=5)["id"])
        worker.run()
        num = measure_by_formula(world, board, space)
        worker.run()
    assert num == 0
    first, second = (read(client, table_id, report) for report in reports)
    rows = [
        [(row["arch_id"], row["estimates_us"], row["latency_us"]) for row in one["rows"]] for one in (first, second)
    ]
    assert rows[0] == rows[1]
    assert len({row["arch_id"] for row in first["rows"]}) == NUM_NETWORKS
    listed = client.get(f"/api/v1/latency-tables/{table_id}/reports").json()["items"]
    assert [one["id"] for one in listed] == [second["id"], first["id"]]
    other = ordered(client, table_id, seed=6)["id"]
    worker.run()
    assert {row["arch_id"] for row in read(client, table_id, other)["rows"]} != {
        row["arch_id"] for row in first["rows"]
    }


def test_a_space_without_routing_is_judged_by_the_sum_of_its_operators(
    world: World, client: httpx2.Client, worker: StepWorker
) -> None:
    board, space = world.enrol(), space_of(TINY_SPACE)
    table_id = complete_table(world, client, worker, board, space, table_spec(TINY_SPACE))
    report_id = ordered(client, table_id)["id"]
    worker.run()
    measure_by_formula(world, board, space)
    worker.run()
    report = read(client, table_id, report_id)
    assert [found["estimator"] for found in report["agreements"]] == ["operators"]
    assert report["agreements"][0]["mean_error_us"] == pytest.approx(-OVERHEAD_US, abs=0.1)
    assert report["agreements"][0]["num_networks"] == NUM_NETWORKS
    exported = client.get(f"/api/v1/latency-tables/{table_id}/reports/{report_id}", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(exported.text)))
    assert [float(row["latency_us"]) for row in rows] == [row["latency_us"] for row in report["rows"]]
    assert {row["chained_us"] for row in rows} == {""}


def test_networks_with_an_operator_that_the_table_lacks_are_named_and_left_out(
    world: World, client: httpx2.Client, worker: StepWorker
) -> None:
    """AttentiveNAS's operators depend on several genes: a table of uniform architectures has some of them."""
    document = {"id": "attentivenas", "parameters": {"num_classes": 3}}
    board, space = world.enrol(), space_of(document)
    table_id = complete_table(world, client, worker, board, space, table_spec(document))
    report_id = ordered(client, table_id, num_networks=2)["id"]
    worker.run()
    report = read(client, table_id, report_id)
    assert [row["estimates_us"] for row in report["rows"]] == [{}, {}]
    assert all("is not in this table" in row["missing"] for row in report["rows"])
    assert report["agreements"] == []


def test_a_report_of_an_unfinished_table_is_refused_with_what_is_missing(
    world: World, client: httpx2.Client, worker: StepWorker
) -> None:
    world.enrol()
    table = client.post("/api/v1/latency-tables", json=table_spec(DENSE_SPACE)).json()
    worker.run()
    answer = client.post(f"/api/v1/latency-tables/{table['id']}/reports", json={})
    assert answer.status_code == 422
    assert f"0 of its {table['num_operators']} operators are measured" in answer.json()["errors"][0]["detail"]


def test_reports_are_found_under_their_own_table_alone(world: World, client: httpx2.Client, worker: StepWorker) -> None:
    board = world.enrol()
    dense = complete_table(world, client, worker, board, space_of(DENSE_SPACE), table_spec(DENSE_SPACE))
    tiny = complete_table(world, client, worker, board, space_of(TINY_SPACE), table_spec(TINY_SPACE))
    report_id = ordered(client, dense)["id"]
    assert client.get(f"/api/v1/latency-tables/{tiny}/reports/{report_id}").status_code == 404
    assert client.get(f"/api/v1/latency-tables/{dense}/reports/{dense}").status_code == 404
    assert client.post(f"/api/v1/latency-tables/{report_id}/reports", json={}).status_code == 404
    assert [one["id"] for one in client.get("/api/v1/latency-tables").json()["items"]] == [tiny, dense]
