"""Latency tables that a search cannot be paid for with are refused when it is created, each with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.spaces.registry import create_space
from server.fleet.device import Enrolment
from server.fleet.devices import Devices
from server.jobs.failures import Failure
from tests.support.worlds.api_world import ENROLMENT, World, capabilities
from tests.support.worlds.table_world import BATCH, DENSE_SPACE, StepWorker, complete_table, measure_by_formula
from tests.support.worlds.worker_world import TINY_SPACE

SPACE: dict[str, Any] = {**DENSE_SPACE, "parameters": {**DENSE_SPACE["parameters"], "num_classes": 10}}
PLACE = "/algorithm/latency_table"


@pytest.fixture
def worker(world: World, tmp_path: Path) -> StepWorker:
    return StepWorker(world, tmp_path)


def enrol(world: World, name: str, clocks_profile: str = "pinned-max", **labels: str) -> Any:
    """A board that also takes fp16."""
    offered = capabilities()
    offered = replace(
        offered,
        dtypes=(Dtype.FP32, Dtype.FP16),
        identity=replace(offered.identity, clocks_profile=clocks_profile),
    )
    enrolment = Enrolment(name=name, device_type="rk3588", capabilities=offered, labels=labels)
    return world.process.get(Devices).enrol(ENROLMENT, enrolment)[0]


def densenas_spec(table_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "space": SPACE,
        "objectives": [{"metric": "latency_us"}],
        "algorithm": {"kind": "densenas", "dataset": "fashion-mnist-12k", "latency_table": table_id},
        "budget": {"num_candidates": 1},
        "device": {"device_type": "rk3588", "batch": BATCH},
        **changes,
    }


def reasons(client: httpx2.Client, spec: dict[str, Any]) -> list[str]:
    """Why a spec is refused, of its latency table."""
    answer = client.post("/api/v1/searches", json=spec)
    if answer.status_code == 202:
        return []
    assert answer.status_code == 422, answer.text
    return [error["detail"] for error in answer.json()["errors"] if error["pointer"] == PLACE]


def test_a_fitting_table_is_accepted_and_others_are_told_apart(
    world: World, client: httpx2.Client, worker: StepWorker
) -> None:
    board = enrol(world, "bench-1", rack="a")
    order = {"space": SPACE, "device": {"device_type": "rk3588", "batch": BATCH}}
    table = complete_table(world, client, worker, board, create_space(SPACE["id"], SPACE["parameters"]), order)
    assert reasons(client, densenas_spec(table)) == []
    assert reasons(client, densenas_spec(table, device=None, objectives=[{"metric": "macs"}])) == []

    (found,) = reasons(client, densenas_spec(table, device={"device_type": "rk3588", "batch": 1}))
    assert f"is for batch {BATCH}, the search measures batch 1" in found
    (found,) = reasons(client, densenas_spec(table, device={"device_type": "rk3588", "batch": BATCH, "dtype": "fp16"}))
    assert "is for fp32, the search measures fp16" in found
    narrower = {**SPACE, "parameters": {**SPACE["parameters"], "last_channels": 32}}
    (found,) = reasons(client, densenas_spec(table, space=narrower))
    assert "differs in last_channels" in found
    (found,) = reasons(client, densenas_spec(table, space={"id": "densenas-resnet"}))
    assert "is of space 'densenas-mbv2', the search is in 'densenas-resnet'" in found
    (found,) = reasons(client, densenas_spec("srch_01jd3x5w8k2v7m4q9r6t1y0z3a"))
    assert "srch_01jd3x5w8k2v7m4q9r6t1y0z3a" in found

    enrol(world, "bench-2", clocks_profile="unpinned", rack="b")
    elsewhere = {"device_type": "rk3588", "batch": BATCH, "labels": {"rack": "b"}}
    (found,) = reasons(client, densenas_spec(table, device=elsewhere))
    assert "other hardware" in found
    assert "clocks_profile: pinned-max / unpinned" in found


def test_a_table_that_lacks_operators_is_refused_while_and_after_it_is_measured(
    world: World, client: httpx2.Client, worker: StepWorker
) -> None:
    board = enrol(world, "bench-1")
    order = {
        "space": SPACE,
        "device": {"device_type": "rk3588", "batch": BATCH},
        "measurement": {"max_attempts": 1},
    }
    table = client.post("/api/v1/latency-tables", json=order).json()
    (found,) = reasons(client, densenas_spec(table["id"]))
    assert f"is running: 0 of its {table['num_operators']} operators are measured; wait for the rest" in found
    worker.run()
    job = world._assigned(board)
    assert job is not None
    assert job.lease is not None
    failure = Failure(FailureType.MODEL_REJECTED, "the compiler knows no such operator")
    world.job_results.put_failure(board.id, job.lease, failure, "0" * 64)
    measure_by_formula(world, board, create_space(SPACE["id"], SPACE["parameters"]))
    worker.run()
    (found,) = reasons(client, densenas_spec(table["id"]))
    assert f"is completed: {table['num_operators'] - 1} of its {table['num_operators']} operators" in found
    assert "order it again" in found


def test_a_search_is_no_table(world: World, client: httpx2.Client) -> None:
    enrol(world, "bench-1")
    spec = {"space": TINY_SPACE, "objectives": [{"metric": "macs"}], "budget": {"num_candidates": 1}}
    search = client.post("/api/v1/searches", json=spec).json()
    (found,) = reasons(client, densenas_spec(search["id"]))
    assert "is a search, no latency table" in found


def test_the_data_set_of_a_densenas_search_is_checked_too(world: World, client: httpx2.Client) -> None:
    spec = densenas_spec("x", device=None, objectives=[{"metric": "macs"}])
    spec["algorithm"] = {"kind": "densenas", "dataset": "nowhere"}
    answer = client.post("/api/v1/searches", json=spec)
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/algorithm/dataset"]
    spec["algorithm"] = {"kind": "densenas", "dataset": "fashion-mnist-12k"}
    spec["space"] = DENSE_SPACE
    answer = client.post("/api/v1/searches", json=spec)
    assert "10 classes, the space 3" in answer.json()["errors"][0]["detail"]


@pytest.mark.parametrize("space", [TINY_SPACE, {"id": "scarlet-s1", "parameters": {"num_classes": 10}}])
def test_densenas_searches_spaces_of_its_own_alone(client: httpx2.Client, space: dict[str, Any]) -> None:
    spec = densenas_spec("x", device=None, objectives=[{"metric": "macs"}], space=space)
    spec["algorithm"] = {"kind": "densenas", "dataset": "fashion-mnist-12k"}
    found = client.post("/api/v1/searches:validate", json=spec).json()["violations"]
    refused = {one["pointer"]: one["detail"] for one in found}["/algorithm"]
    assert f"densely connected spaces, {space['id']!r} is none" in refused
