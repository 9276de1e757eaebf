"""Searches with the worker's own steps and a board played by hand: warm start, confirmation, labels of simulators."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import DeviceClass, HardwareKey
from nas_engine.domain.metrics import LATENCY_US
from server.artifacts.artifacts import Artifacts
from server.bootstrap import worker as worker_process
from server.bootstrap.settings import Settings
from server.candidates.candidate import Candidate, CandidateQuery, Evaluation
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search
from server.candidates.spec import parse_search_spec
from server.candidates.states import EvaluationSource, SearchState
from server.core.database.transaction import UnitOfWork
from server.core.paging import PageRequest
from server.fleet.device import Device
from server.jobs.dispatch import Dispatch
from server.jobs.payloads import read_payload
from server.measuring.payloads import MeasurePayload
from server.searches.fronts.fronts import Fronts
from server.searches.searches import Searches
from server.spaces.catalog import SpaceCatalog
from server.spaces.result_tables import SpaceTables
from tests.support.packages import find_packages, forget, lay_out
from tests.support.samples.table_results import table_bytes
from tests.support.worlds.api_world import SMALL_PARAMETERS, World, block_around, latency_spec, measurement
from tests.support.worlds.service_world import put_measurement

ENTROPY = 1.07  # latencies of distinct architectures differ by up to this factor, so that dominance is no accident


class Bench:
    """An API process, the worker's handlers and one board."""

    def __init__(self, home: Path, device_class: DeviceClass = DeviceClass.BOARD) -> None:
        self.world = World.open(home, auth=False)
        process = self.world.process
        settings = Settings(home=home, worker_device="cpu")
        assert isinstance(process.uow, UnitOfWork)
        self.handlers = worker_process._handlers(
            settings, process.uow, process.get(Dispatch).kinds, process.get(Artifacts), None
        )
        self.board: Device = self.world.enrol("bench-1", "rk3588", device_class)
        self.num_measured = 0

    def search(self, spread: float = 0.0, **changes: JsonValue) -> Search:
        """A search run to its end; every latency is measured with this relative spread between blocks."""
        process = self.world.process
        if spread:
            changes = {"measurement": {"validity_policy": "accept_flagged"}, **changes}
        search = process.get(Searches).create_search(parse_search_spec(latency_spec(**changes)))  # type: ignore[arg-type]
        for _ in range(200):
            found = process.get(Searches).get_search(search.id)
            if found.state.final:
                return found
            if not self._work() + self._measure(spread):
                break
        raise AssertionError(f"the search stands still: {found.state.value}")

    def _work(self) -> int:
        num = 0
        while (job := self.world.dispatch.claim("worker")) is not None:
            assert job.lease is not None
            self.handlers[job.kind](job, job.lease, lambda: False)
            num += 1
        return num

    def _measure(self, spread: float) -> int:
        num = 0
        while (job := self.world._assigned(self.board)) is not None:
            assert job.lease is not None
            offered, batch = self.board.capabilities, read_payload(MeasurePayload, job.payload).batch
            key = HardwareKey(identity=offered.identity, dtype=offered.dtypes[0], batch=batch)
            digits = int(hashlib.sha256(str(job.latency_key).encode()).hexdigest()[:8], 16) / 2**32
            p50_us = 1000.0 * ENTROPY**digits
            measured = measurement(key, p50_us)
            if spread:
                places = [1 - spread, 1 - spread / 2, 1.0, 1 + spread / 2, 1 + spread] * 3
                measured = replace(measured, blocks=tuple(block_around(p50_us * place) for place in places))
            self.num_measured += 1
            digest = hashlib.sha256(f"{job.id} {self.num_measured}".encode()).hexdigest()
            put_measurement(self.world.results, self.board.id, job.lease, measured, digest)
            num += 1
        return num

    def candidates(self, search: Search) -> tuple[Candidate, ...]:
        process = self.world.process
        return process.uow.read(
            lambda tx: CandidateStore(tx).page_of_candidates(CandidateQuery(search_id=search.id), PageRequest(100))
        ).items

    def latencies(self, candidate: Candidate) -> list[Evaluation]:
        found = self.world.process.uow.read(lambda tx: EvaluationStore(tx).evaluations_of_candidates([candidate.id]))
        return [evaluation for evaluation in found if evaluation.metric == LATENCY_US]


def report_of(search: Search) -> Any:
    return search.progress.report["warm_start"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    opened: list[Bench] = []

    def open_bench(device_class: DeviceClass = DeviceClass.BOARD) -> Bench:
        opened.append(Bench(tmp_path / "home", device_class))
        return opened[-1]

    yield open_bench
    for one in opened:
        one.world.close()


def test_a_search_starts_from_what_was_measured_on_its_hardware(bench: Callable[..., Bench]) -> None:
    one = bench()
    first = one.search(num_candidates=4, seed=1)
    other_space: JsonValue = {"id": "spos", "parameters": {**SMALL_PARAMETERS, "num_classes": 7}}
    one.search(num_candidates=2, seed=2, space=other_space)
    num_measured = one.num_measured
    second = one.search(
        num_candidates=6, seed=3, warm_start={"measured": True}, algorithm={"kind": "nsga2", "population_size": 6}
    )
    report = report_of(second)
    assert (report["num_offered"], report["num_accepted"], report["num_rejected"]) == (6, 4, 2)
    assert report["accepted_from"] == {"measured": 4}
    assert {(rejected["source"], rejected["reason"]) for rejected in report["rejected"]} == {
        ("measured", "belongs to the same space with other parameters: give both searches the same ones")
    }
    candidates = one.candidates(second)
    known = {c.arch_id: c.value(LATENCY_US) for c in one.candidates(first)}
    assert {c.arch_id for c in candidates[:4]} == set(known)
    for candidate in candidates[:4]:
        assert candidate.provenance == {"operator": "warm_start", "source": "measured"}
        assert [e.source for e in one.latencies(candidate)] == [EvaluationSource.REUSED]
        assert candidate.value(LATENCY_US) == known[candidate.arch_id]
    assert [c.provenance for c in candidates[4:]] == [None, None]
    assert one.num_measured == num_measured + 2
    assert second.progress.num_reused == 4


def test_a_warm_start_takes_no_more_than_it_is_told_and_nothing_of_other_hardware(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.search(num_candidates=3, seed=1)
    few = one.search(num_candidates=3, seed=3, warm_start={"measured": True, "max_candidates": 2})
    assert report_of(few)["num_offered"] == 2
    other = one.search(
        num_candidates=2, seed=3, warm_start={"measured": True}, device={"device_type": "rk3588", "batch": 2}
    )
    assert other.hardware_key != few.hardware_key
    assert report_of(other)["num_offered"] == 0


def test_what_is_not_dominated_beyond_its_interval_is_measured_again_before_the_end(
    bench: Callable[..., Bench],
) -> None:
    one = bench()
    measured = {"confirm": "confident", "validity_policy": "accept_flagged"}
    search = one.search(spread=0.2, num_candidates=8, seed=1, measurement=measured)
    assert search.state is SearchState.COMPLETED
    fronts = one.world.process.get(Fronts)
    confident = {c.id for c in fronts.of_search(search.id, dominance=Dominance.CONFIDENT).points}
    front = {c.id for c in fronts.of_search(search.id).points}
    times = {candidate.id: len(one.latencies(candidate)) for candidate in one.candidates(search)}
    assert front < confident
    assert {candidate for candidate, num in times.items() if num == 2} >= confident
    assert set(times.values()) <= {1, 2}


PREDICTED: dict[str, JsonValue] = {"kind": "predictor_assisted", "num_initial": 15, "num_chosen": 5}


def test_noisy_members_of_the_front_are_measured_again_before_a_search_that_predicts_believes_them(
    bench: Callable[..., Bench],
) -> None:
    one = bench()
    search = one.search(spread=0.2, num_candidates=30, seed=1, algorithm=PREDICTED)
    assert search.state is SearchState.COMPLETED
    candidates = one.candidates(search)
    again = [c for c in candidates if len(one.latencies(c)) == 2]
    assert 0 < len(again) <= 3  # one for every ten candidates asked
    assert one.num_measured == 30 + len(again)
    assert all(len(one.latencies(c)) <= 2 for c in candidates)


CAREFUL = """from hilnas import AlgorithmDeclaration
IT = AlgorithmDeclaration(
    name="careful", title="Draws, and looks twice", implementation="careful_search:Careful",
)
"""
CAREFUL_SEARCH = """from nas_engine.search.algorithms.random_search import RandomSearch
from nas_engine.settings.algorithms import RandomSearchSettings
class Careful(RandomSearch):
    remeasures = True
    def __init__(self, problem, settings, seed):
        super().__init__(problem, RandomSearchSettings(batch_size=10), seed)
"""


def test_noisy_members_are_measured_again_for_an_algorithm_of_a_package_that_wants_it(
    bench: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    lay_out(folder, "careful", "hilnas.algorithms", "careful", CAREFUL)
    (folder / "careful_search.py").write_text(CAREFUL_SEARCH)
    find_packages(monkeypatch, folder)
    try:
        one = bench()
        search = one.search(spread=0.2, num_candidates=30, seed=1, algorithm={"kind": "careful"})
        assert search.state is SearchState.COMPLETED, search.reason
        again = [c for c in one.candidates(search) if len(one.latencies(c)) == 2]
        assert 0 < len(again) <= 3
        assert one.num_measured == 30 + len(again)
    finally:
        forget()


@pytest.mark.parametrize(("spread", "changes"), [(0.0, {}), (0.2, {"remeasure": False})])
def test_nothing_is_measured_again_where_latencies_are_exact_or_nobody_wants_it(
    bench: Callable[..., Bench], spread: float, changes: dict[str, JsonValue]
) -> None:
    one = bench()
    one.search(spread=spread, num_candidates=20, seed=1, algorithm={**PREDICTED, **changes})
    assert one.num_measured == 20


def test_a_confident_search_labels_its_front_and_the_other_front_can_be_asked_for(bench: Callable[..., Bench]) -> None:
    one = bench()
    search = one.search(
        spread=0.2,
        num_candidates=8,
        seed=1,
        dominance="confident",
        algorithm={"kind": "nsga2", "population_size": 4},
    )
    with one.world.client(None) as http:
        url = f"/api/v1/searches/{search.id}/front"
        own, by_values = http.get(url).json(), http.get(url, params={"dominance": "point"}).json()
        assert http.get(url, params={"dominance": "certain"}).status_code == 422
    assert (own["dominance"], by_values["dominance"]) == ("confident", "point")
    ids = [{point["candidate"]["id"] for point in front["points"]} for front in (own, by_values)]
    assert ids[1] < ids[0]
    assert own["latency_kind"] == "measured"


def test_a_simulated_latency_is_labelled_so_wherever_it_is_shown(bench: Callable[..., Bench]) -> None:
    one = bench(DeviceClass.SIMULATED)
    first, second = (one.search(num_candidates=3, seed=1) for _ in range(2))
    assert second.progress.num_reused == 3
    with one.world.client(None) as http:
        for search, source in ((first, "simulated"), (second, "reused")):
            url = f"/api/v1/searches/{search.id}"
            front = http.get(f"{url}/front").json()
            assert (front["latency_kind"], front["device_class"]) == ("simulated", "simulated")
            listed = http.get(f"{url}/candidates").json()["items"]
            assert {one["latency"]["kind"] for one in listed} == {"simulated"}
            rows = csv.DictReader(io.StringIO(http.get(f"{url}/candidates", headers={"Accept": "text/csv"}).text))
            assert {row["latency_kind"] for row in rows} == {"simulated"}
            candidate = listed[0]["id"]
            (evaluation,) = http.get(f"/api/v1/candidates/{candidate}/evaluations").json()["items"]
            assert (evaluation["source"], evaluation["kind"]) == (source, "simulated")
            page = http.get(f"/candidates/{candidate}").text
            assert "simulated latency, p50" in page
            assert f"{source} (simulated)" in page or f"<td>{source}</td>" in page
            assert "<td>measured" not in page
            assert "simulated" in http.get(f"/fragments/searches/{search.id}/candidates").text
        assert http.get("/api/v1/measurements").json()["items"] == []
        everything = http.get("/api/v1/measurements", params={"kind": "simulated"}).json()["items"]
        assert {record["kind"] for record in everything} == {"simulated"}


def test_what_a_table_gives_is_shown_as_that_and_as_nothing_else(bench: Callable[..., Bench]) -> None:
    one = bench()
    process = one.world.process
    stored = process.get(Artifacts).put(table_bytes(3), "application/json")
    process.get(SpaceTables).register("mine", stored.sha256, process.get(SpaceCatalog))
    spec = {
        "space": {"id": "mine"},
        "objectives": [{"metric": "top1"}, {"metric": "latency_us"}],
        "budget": {"num_candidates": 5},
    }
    search = process.get(Searches).create_search(parse_search_spec(spec))
    one._work()
    with one.world.client(None) as http:
        url = f"/api/v1/searches/{search.id}"
        front = http.get(f"{url}/front").json()
        assert (front["latency_kind"], front["device_class"], front["hardware_key"]) == ("table", None, None)
        listed = http.get(f"{url}/candidates").json()["items"]
        assert {(c["latency"]["kind"], c["latency"]["device_class"]) for c in listed} == {("table", None)}
        rows = csv.DictReader(io.StringIO(http.get(f"{url}/candidates", headers={"Accept": "text/csv"}).text))
        assert {row["latency_kind"] for row in rows} == {"table"}
        candidate = listed[0]["id"]
        evaluations = http.get(f"/api/v1/candidates/{candidate}/evaluations").json()["items"]
        assert {(e["metric"], e["source"], e["kind"]) for e in evaluations} == {
            ("top1", "table", None),
            ("latency_us", "table", "table"),
        }
        page = http.get(f"/candidates/{candidate}").text
        assert "table latency, p50" in page
        assert "there is no network to draw" in page
        assert "picture.svg" not in page
        assert http.get("/api/v1/measurements", params={"kind": ["measured", "simulated"]}).json()["items"] == []
