"""A finished search's front on a board that it was not measured on: over REST, by the SDK and the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest

from hilnas.cli import main as cli
from hilnas.client.client import Hilnas
from nas_engine.domain.search_space import sample_genotype
from server.artifacts.artifacts import Artifacts
from server.core.database.transaction import UnitOfWork
from server.fleet.device import Device
from server.jobs.payloads import read_payload
from server.jobs.states import JobKind
from server.measuring.payloads import MeasurePayload
from server.searches.fronts.fronts import FrontMaths, Fronts
from server.searches.what_if.what_ifs import WhatIfs
from server.searches.what_if.work import WhatIfWork
from server.searches.worker.carrying_over import WhatIfHandler
from server.spaces.catalog import SpaceCatalog
from server.spaces.store import ArchitectureStore
from tests.support.samples.simulated_boards import Board, cpu_us, npu_us
from tests.support.worlds.api_world import ADMIN, SMALL_PARAMETERS, World, latency_spec
from tests.support.worlds.served_world import served

NUM_CANDIDATES = 30
NEW_BOARD = {"device": {"device_type": "npu-board"}, "num_measurements": 10}


class Bench:
    """A search that is over, measured on one simulated board, and another board that has just enrolled."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.spaces = world.process.get(SpaceCatalog)
        self.old = world.enrol("bench-old")
        self.new = world.enrol("bench-new", device_type="npu-board")
        client = world.client()
        self.search_id = client.post("/api/v1/searches", json=latency_spec(NUM_CANDIDATES)).json()["id"]
        self.refused_while_running = client.post(f"/api/v1/searches/{self.search_id}/what-if", json=NEW_BOARD)
        space, rng = self.spaces.space("spos", SMALL_PARAMETERS), np.random.default_rng(1)
        genotypes = {sample_genotype(space.genes, rng): None for _ in range(200)}
        world.step(list(genotypes)[:NUM_CANDIDATES])
        world.convert_all()
        assert self.measure(self.old, cpu_us) == NUM_CANDIDATES
        world.step(last=True)

    def measure(self, device: Device, board: Board) -> int:
        """Measure all that waits for a board; how many that was."""
        num = 0
        self.world.convert_all()
        while (job := self.world._assigned(device)) is not None:
            arch_id = read_payload(MeasurePayload, job.payload).arch_id
            assert arch_id is not None
            self.world.put_result(device, job, self.truth(arch_id, board))
            num += 1
        return num

    def truth(self, arch_id: str, board: Board) -> float:
        """What a network takes on a board, microseconds."""
        record = self.world.process.uow.read(lambda tx: ArchitectureStore(tx).get_architecture(arch_id))
        graph = self.spaces.graph(record.architecture)
        assert graph is not None
        return board(graph)

    def work(self) -> int:
        """Do the jobs of what-ifs, as a worker does; how many there were."""
        process = self.world.process
        assert isinstance(process.uow, UnitOfWork)
        artifacts = process.get(Artifacts)
        work = WhatIfWork(process.uow, process.get(WhatIfs))
        handler = WhatIfHandler(work, Fronts(process.uow, FrontMaths()), self.spaces, artifacts)
        num = 0
        while (job := self.world.dispatch.claim("worker-1", (JobKind.WHAT_IF,))) is not None:
            assert job.lease is not None
            handler(job, job.lease, lambda: False)
            num += 1
        return num


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    world = World.open(tmp_path_factory.mktemp("what_ifs") / "home")
    yield Bench(world)
    world.close()


@pytest.fixture(scope="module")
def client(bench: Bench) -> httpx2.Client:
    return bench.world.client()


@pytest.fixture(scope="module")
def found(bench: Bench, client: httpx2.Client) -> dict[str, Any]:
    """The first one of the search, completed step by step."""
    path = f"/api/v1/searches/{bench.search_id}/what-if"
    made = client.post(path, json=NEW_BOARD)
    assert made.status_code == 202, made.text
    assert made.json()["state"] == "planning"
    before = client.get(made.headers["Location"]).json()
    assert before["networks"] == []
    assert bench.work() == 1
    planned = client.get(made.headers["Location"]).json()
    assert (planned["state"], planned["num_chosen"], planned["num_measured"]) == ("measuring", 10, 0)
    what_ifs = bench.world.process.get(WhatIfs)
    what_ifs.advance_all()  # nothing has come in: nothing to fit
    assert bench.work() == 0
    assert bench.measure(bench.new, npu_us) == 10
    assert client.get(made.headers["Location"]).json()["num_measured"] == 10
    what_ifs.advance_all()
    what_ifs.advance_all()
    assert bench.work() == 1
    completed: dict[str, Any] = client.get(made.headers["Location"]).json()
    assert completed["state"] == "completed", completed
    return completed


def test_who_asked_is_recorded(client: httpx2.Client, found: dict[str, Any]) -> None:
    records = client.get("/api/v1/changes", params={"kind": "what_if", "subject_id": found["id"]}).json()["items"]
    assert ("create", "what_if") in {(one["action"], one["kind"]) for one in records}


def test_every_candidate_is_measured_or_estimated_and_says_which(bench: Bench, found: dict[str, Any]) -> None:
    assert len(found["networks"]) == NUM_CANDIDATES
    kinds = [one["kind"] for one in found["networks"]]
    assert (kinds.count("measured"), kinds.count("estimated")) == (10, NUM_CANDIDATES - 10)
    measured = {one["candidate_id"]: one for one in found["chosen"]}
    for one in found["networks"]:
        assert one["low_us"] <= one["latency_us"] <= one["high_us"]
        assert one["values"][0] == one["latency_us"]
        assert one["old_latency_us"] == pytest.approx(bench.truth(one["arch_id"], cpu_us), rel=1e-3)
        if one["kind"] == "measured":
            assert one["latency_us"] == pytest.approx(bench.truth(one["arch_id"], npu_us), rel=1e-3)
            assert one["measurement_id"] == measured[one["candidate_id"]]["measurement_id"]
        else:
            assert one["measurement_id"] is None
            assert one["candidate_id"] not in measured


def test_estimates_hold_the_truth_and_say_how_they_were_validated(bench: Bench, found: dict[str, Any]) -> None:
    estimated = [one for one in found["networks"] if one["kind"] == "estimated"]
    held = [one["low_us"] <= bench.truth(one["arch_id"], npu_us) <= one["high_us"] for one in estimated]
    assert np.mean(held) >= 0.8
    assert found["num_fitted"] == 10
    assert found["quality"]["num_left_out"] == 10
    assert found["quality"]["nominal"] == 0.95
    assert 0.0 <= found["quality"]["coverage"] <= 1.0
    assert "left out" in found["validation"]


def test_the_front_is_what_nothing_beats_as_the_values_stand(found: dict[str, Any]) -> None:
    values = {one["candidate_id"]: one["values"] for one in found["networks"]}
    front = {one["candidate_id"] for one in found["front"]}
    assert front == {one["candidate_id"] for one in found["networks"] if one["on_front"]}
    beaten = {
        id
        for id, mine in values.items()
        for other in values.values()
        if other != mine and all(a <= b for a, b in zip(other, mine, strict=True))
    }
    assert front == set(values) - beaten
    latencies = [one["latency_us"] for one in found["front"]]
    assert latencies == sorted(latencies)


def test_what_is_to_be_measured_next_was_not(found: dict[str, Any]) -> None:
    assert len(found["measure_next"]) == 8
    assert {one["kind"] for one in found["measure_next"]} == {"estimated"}


def test_measuring_the_next_ones_settles_more(bench: Bench, client: httpx2.Client, found: dict[str, Any]) -> None:
    path = f"/api/v1/searches/{bench.search_id}/what-if/{found['id']}"
    again = client.post(f"{path}:measure-next")
    assert again.status_code == 202, again.text
    assert again.json()["state"] == "measuring"
    assert client.post(f"{path}:measure-next").status_code == 409  # under way already
    assert bench.measure(bench.new, npu_us) == 8
    bench.world.process.get(WhatIfs).advance_all()
    assert bench.work() == 1
    now = client.get(path).json()
    assert (now["state"], now["num_fitted"]) == ("completed", 18)
    wanted = {one["candidate_id"] for one in found["measure_next"]}
    assert {one["candidate_id"] for one in now["chosen"] if one["num_round"] == 2} == wanted
    kinds = {one["candidate_id"]: one["kind"] for one in now["networks"]}
    assert {kinds[id] for id in wanted} == {"measured"}


def test_what_was_measured_there_before_is_not_measured_again(
    bench: Bench, client: httpx2.Client, found: dict[str, Any]
) -> None:
    made = client.post(f"/api/v1/searches/{bench.search_id}/what-if", json=NEW_BOARD)
    assert bench.work() == 1
    now = client.get(made.headers["Location"]).json()
    assert {one["candidate_id"] for one in now["chosen"]} == {one["candidate_id"] for one in found["chosen"]}
    assert now["num_measured"] == 10
    assert bench.measure(bench.new, npu_us) == 0
    listed = client.get(f"/api/v1/searches/{bench.search_id}/what-if").json()["items"]
    assert [one["id"] for one in listed][-1] == found["id"]


def test_a_cancelled_one_stops_its_measurements(bench: Bench, client: httpx2.Client) -> None:
    spec = {**NEW_BOARD, "measurement": {"reuse": False}}
    made = client.post(f"/api/v1/searches/{bench.search_id}/what-if", json=spec)
    assert bench.work() == 1
    path = made.headers["Location"]
    assert client.get(path).json()["num_measured"] == 0
    cancelled = client.post(f"{path}:cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert bench.measure(bench.new, npu_us) == 0
    assert client.post(f"{path}:measure-next").status_code == 409


def test_one_that_is_cancelled_before_it_is_planned_orders_nothing(bench: Bench, client: httpx2.Client) -> None:
    spec = {**NEW_BOARD, "measurement": {"reuse": False}}
    made = client.post(f"/api/v1/searches/{bench.search_id}/what-if", json=spec)
    assert client.post(f"{made.headers['Location']}:cancel").status_code == 202
    assert bench.work() == 1
    assert bench.measure(bench.new, npu_us) == 0
    assert client.get(made.headers["Location"]).json()["chosen"] == []


def test_what_cannot_be_carried_over_says_why(bench: Bench, client: httpx2.Client, found: dict[str, Any]) -> None:
    path = f"/api/v1/searches/{bench.search_id}/what-if"
    assert bench.refused_while_running.status_code == 422
    assert "wait until it has ended" in bench.refused_while_running.text
    same = client.post(path, json={"device": {"device_type": "rk3588"}})
    assert same.status_code == 422
    assert "measured on this very hardware" in same.text
    unknown = client.post(path, json={"device": {"device_type": "npu-bord"}})
    assert unknown.status_code == 422
    assert "npu-board" in unknown.text
    few = client.post(path, json={**NEW_BOARD, "num_measurements": 3})
    assert few.status_code == 422
    assert "num_measurements" in few.text
    other = client.post("/api/v1/searches", json=latency_spec(1)).json()["id"]
    assert client.get(f"/api/v1/searches/{other}/what-if/{found['id']}").status_code == 404


def test_the_client_and_the_command_say_the_same(
    bench: Bench, found: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(bench.world) as url, Hilnas(url, ADMIN) as nas:
        read = nas.searches.get_what_if(bench.search_id, found["id"])
        assert read.device_type == "npu-board"
        assert "npu-board" in read._repr_html_()
        assert found["id"] in [one.id for one in nas.searches.what_ifs(bench.search_id)]
        search = nas.searches.get(bench.search_id)
        made = search.what_if("npu-board", num_measurements=10)
        assert made.state.value == "planning"
        made.cancel()
        monkeypatch.setenv("HILNAS_URL", url)
        monkeypatch.setenv("HILNAS_TOKEN", ADMIN)
        monkeypatch.setenv("COLUMNS", "200")
        assert cli.main(["search", "what-if", bench.search_id, "--id", found["id"], "--json"]) == 0
        (printed,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]  # beside the log
        assert json.loads(printed)["id"] == found["id"]
        assert cli.main(["search", "what-if", bench.search_id, "--id", found["id"]]) == 0
        text = capsys.readouterr().out
        assert "estimated" in text
        assert "Measure these" in text
