"""Latency tables and reports as batches of jobs: shared, steered, taken up again, and found under their old paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.search_space import SearchSpace
from nas_engine.spaces.registry import create_space
from server.core.paging import PageRequest
from server.fleet.device import Device
from server.jobs.failures import Failure
from server.jobs.job import JobQuery
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobState
from server.latency_tables.batch import BatchState
from server.latency_tables.keeper import BatchKeeper
from server.latency_tables.store import BatchStore
from server.measuring.store import MeasurementStore
from server.searches.schemas import SearchResource
from tests.support.worlds.api_world import World
from tests.support.worlds.table_world import BATCH, StepWorker, complete_table, measure_by_formula
from tests.support.worlds.worker_world import TINY_SPACE

TABLES = "/api/v1/latency-tables"
SIZE = 4**3  # networks of the tiny space


@pytest.fixture
def worker(world: World, tmp_path: Path) -> StepWorker:
    return StepWorker(world, tmp_path)


@pytest.fixture
def board(world: World) -> Device:
    return world.enrol()


def tiny() -> SearchSpace:
    return create_space(TINY_SPACE["id"], TINY_SPACE["parameters"])


def spec(**changes: Any) -> dict[str, Any]:
    return {"space": TINY_SPACE, "device": {"device_type": "rk3588", "batch": BATCH}, **changes}


def ordered(client: httpx.Client, path: str = TABLES, **changes: Any) -> Any:
    answer = client.post(path, json=spec(**changes) if path == TABLES else changes)
    assert answer.status_code == 202, answer.text
    return answer.json()


def steered(client: httpx.Client, path: str, verb: str) -> Any:
    answer = client.post(f"{path}:{verb}")
    assert answer.status_code == 202, answer.text
    return answer.json()


def keep(world: World) -> None:
    world.process.provided.get(BatchKeeper).advance_all()


def unfinished(world: World) -> int:
    query = JobQuery(states=(JobState.QUEUED, JobState.LEASED))
    return len(world.process.uow.read(lambda tx: JobStore(tx).page_of_jobs(query, PageRequest(1000))).items)


def num_measured(world: World) -> int:
    done = JobQuery(kinds=(JobKind.MEASURE,), states=(JobState.DONE,))
    return len(world.process.uow.read(lambda tx: JobStore(tx).page_of_jobs(done, PageRequest(1000))).items)


def test_tables_that_are_ordered_at_once_share_their_jobs(
    world: World, client: httpx.Client, worker: StepWorker, board: Device
) -> None:
    first = ordered(client)
    early = ordered(client)  # while the first one's models are made
    worker.run()
    late = ordered(client)  # while they are measured
    worker.run()
    assert measure_by_formula(world, board, tiny()) == num_measured(world) == first["num_operators"]
    for one in (first, early, late):
        table = client.get(f"{TABLES}/{one['id']}").json()
        assert (table["state"], table["num_measured"]) == ("completed", first["num_operators"])


def test_a_cancelled_table_keeps_what_was_measured_and_stops_what_nobody_else_waits_for(
    world: World, client: httpx.Client, worker: StepWorker, board: Device
) -> None:
    first, second = ordered(client), ordered(client)
    worker.run()
    job = world._assigned(board)
    assert job is not None
    world.put_result(board, job, 20.0)
    cancelled = steered(client, f"{TABLES}/{first['id']}", "cancel")
    assert (cancelled["state"], cancelled["num_measured"]) == ("cancelled", 1)
    assert {row["state"] for row in cancelled["rows"]} == {"complete", "failed"}
    assert unfinished(world) == first["num_operators"] - 1  # the second table waits for them
    assert steered(client, f"{TABLES}/{first['id']}", "cancel") == cancelled
    steered(client, f"{TABLES}/{second['id']}", "cancel")
    assert unfinished(world) == 0
    assert client.post(f"{TABLES}/{first['id']}:resume").status_code == 409


def test_a_paused_table_gives_out_nothing_until_it_is_resumed(
    world: World, client: httpx.Client, worker: StepWorker, board: Device
) -> None:
    table = ordered(client)
    path = f"{TABLES}/{table['id']}"
    assert steered(client, path, "pause")["state"] == "paused"
    keep(world)
    assert (worker.run(), unfinished(world)) == (0, 0)
    assert steered(client, path, "resume")["state"] == "running"
    worker.run()
    assert measure_by_formula(world, board, tiny()) == table["num_operators"]
    assert client.get(path).json()["state"] == "completed"


def test_what_a_finished_table_holds_is_written_down_once(
    world: World, client: httpx.Client, worker: StepWorker, board: Device
) -> None:
    table_id = complete_table(world, client, worker, board, tiny(), spec())
    shown = client.get(f"{TABLES}/{table_id}").json()
    stored = world.process.uow.read(lambda tx: BatchStore(tx).get_batch(table_id))
    assert (stored.state, stored.num_measured) == (BatchState.RUNNING, 0)
    for _ in range(2):
        keep(world)
        batch = world.process.uow.read(lambda tx: BatchStore(tx).get_batch(table_id))
        assert (batch.state, batch.num_measured) == (BatchState.COMPLETED, shown["num_operators"])
    entries = world.process.uow.read(lambda tx: BatchStore(tx).batch_entries(table_id))
    assert [entry.latency_us for entry in entries] == [row["latency_us"] for row in shown["rows"]]
    assert client.get(f"{TABLES}/{table_id}").json() == shown
    states = [e["data"]["state"] for e in client.get(f"/api/v1/searches/{table_id}/events").json()["items"]]
    assert states == ["running", "completed"]


def test_a_suspect_measurement_of_a_table_under_way_is_taken_again(
    world: World, client: httpx.Client, worker: StepWorker, board: Device
) -> None:
    table = ordered(client)
    worker.run()
    job = world._assigned(board)
    assert job is not None
    world.put_result(board, job, 20.0)
    world.process.uow.write(lambda tx: MeasurementStore(tx).mark_measurements_suspect(board.id, board.enrolled_at))
    keep(world)
    worker.run()
    assert measure_by_formula(world, board, tiny()) == table["num_operators"]
    assert num_measured(world) == table["num_operators"] + 1


@pytest.mark.long
def test_a_report_of_many_networks_is_drawn_bit_by_bit_and_ends_where_the_space_does(
    world: World, client: httpx.Client, worker: StepWorker, board: Device
) -> None:
    table_id = complete_table(world, client, worker, board, tiny(), spec())
    report = ordered(client, f"{TABLES}/{table_id}/reports", num_networks=SIZE + 10, seed=1)
    path = f"{TABLES}/{table_id}/reports/{report['id']}"
    assert len(report["rows"]) == 50
    keep(world)
    rows = client.get(path).json()["rows"]
    assert len({row["arch_id"] for row in rows}) == len(rows) == SIZE
    worker.run()
    measure_by_formula(world, board, tiny())
    keep(world)
    done = client.get(path).json()
    assert (done["state"], done["num_measured"], done["num_networks"]) == ("completed", SIZE, SIZE + 10)
    assert done["reason"] == "the space holds no further network"


def test_operators_that_fail_are_told_apart_from_those_that_are_refused(
    world: World, client: httpx.Client, worker: StepWorker, board: Device
) -> None:
    table = ordered(client)
    worker.run()
    refused = world._assigned(board)
    assert refused is not None
    assert refused.lease is not None
    failure = Failure(FailureType.MODEL_REJECTED, "the compiler knows no such operator")
    world.job_results.put_failure(board.id, refused.lease, failure, "0" * 64)
    dropped = world._assigned(board)
    assert dropped is not None
    assert client.post(f"/api/v1/jobs/{dropped.id}:cancel").status_code == 202
    assert dropped.lease is not None
    world.job_results.put_failure(board.id, dropped.lease, Failure(FailureType.CANCELLED, "as asked"), "1" * 64)
    measure_by_formula(world, board, tiny())
    found = client.get(f"{TABLES}/{table['id']}").json()
    states = {row["latency_key"]: row["state"] for row in found["rows"]}
    assert (states.pop(str(refused.latency_key)), states.pop(str(dropped.latency_key))) == ("infeasible", "failed")
    assert set(states.values()) == {"complete"}
    assert (found["state"], found["num_measured"]) == ("completed", table["num_operators"] - 2)


def test_the_path_of_a_search_leads_to_tables_and_reports(
    world: World, client: httpx.Client, worker: StepWorker, board: Device
) -> None:
    table_id = complete_table(world, client, worker, board, tiny(), spec())
    report_id = ordered(client, f"{TABLES}/{table_id}/reports", num_networks=2)["id"]
    paths = {table_id: f"{TABLES}/{table_id}", report_id: f"{TABLES}/{table_id}/reports/{report_id}"}
    for batch_id, path in paths.items():
        answer = client.get(f"/api/v1/searches/{batch_id}", follow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (308, path)
    assert client.get("/api/v1/searches").json()["items"] == []


def test_tables_and_reports_are_steered_as_the_searches_they_were(
    world: World, client: httpx.Client, worker: StepWorker, board: Device
) -> None:
    table_id = complete_table(world, client, worker, board, tiny(), spec())
    report_id = ordered(client, f"{TABLES}/{table_id}/reports", num_networks=2)["id"]
    report_path = f"{TABLES}/{table_id}/reports/{report_id}"
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        answer = client.post(f"/api/v1/searches/{report_id}:{verb}", follow_redirects=False)
        assert answer.status_code == 202
        search = SearchResource.model_validate(answer.json())
        assert (search.id, search.state.value, search.spec.budget.num_candidates) == (report_id, state, 2)
        assert client.get(report_path).json()["state"] == state
    assert client.post(f"/api/v1/searches/{table_id}:cancel").status_code == 409  # it is complete


def test_a_report_is_no_search_any_more(client: httpx.Client, board: Device) -> None:
    document = {
        "space": TINY_SPACE,
        "objectives": [{"metric": "latency_us"}],
        "algorithm": {"kind": "cost_report", "latency_table": "ltab_1"},
        "device": {"device_type": "rk3588", "batch": BATCH},
        "budget": {"num_candidates": 2},
    }
    answer = client.post("/api/v1/searches", json=document)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/algorithm/kind"
    assert f"POST {TABLES}/ltab_1/reports" in error["detail"]
