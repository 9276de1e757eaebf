"""The real worker's algorithms on searches with two boards: objectives and constraints on either, and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.metrics import LATENCY_US, latency_on
from server.artifacts.files import FileByteStore
from server.candidates.candidate import Candidate, Evaluation
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search import Search
from server.candidates.states import SearchState
from server.jobs.job import Job
from server.jobs.payloads import read_payload
from server.measuring.payloads import MeasurePayload
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import PlayedDevice, World
from tests.support.worlds.worker_world import WorkerWorld

OTHER = latency_on("other")
BASE: dict[str, Any] = {
    "device": {"device_type": "testboard"},
    "boards": {"other": {"device": {"device_type": "otherboard"}}},
    "measurement": {"validity_policy": "accept_flagged", "profile": "quick"},
    "objectives": [
        {"metric": "macs", "goal": "maximize"},
        {"metric": "latency_us"},
        {"metric": "latency_us@other"},
    ],
    "budget": {"num_candidates": 12},
}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "nsga2": {"kind": "nsga2", "population_size": 4},
    "predictor_assisted": {"kind": "predictor_assisted", "num_initial": 6, "num_chosen": 3},
    "random": {"kind": "random", "batch_size": 6},
}


class TwoBoards:
    """A real worker, and two boards of which one likes what the other does not."""

    def __init__(self, database: TestDatabase, folder: Path) -> None:
        self.worker = WorkerWorld(database, folder)
        service = World(database, FileByteStore(folder / "unused"))
        self.own, self.other = service.enrol("bench-1"), service.enrol("bench-2", device_type="otherboard")

    def run(self, search: Search, *, forgets: bool = False) -> Search:
        """Let all of them work until the search is over; `forgets` restarts the worker after each job."""
        for _ in range(60):
            moved = 0
            while (job := self.worker.claim()) is not None:
                self.worker.do(job)
                moved += 1
                if forgets:
                    self.worker.restart()
            moved += self._measure(self.own, 100.0, 1.0) + self._measure(self.other, 900.0, -1.0)
            if not moved:
                break
        return self.worker.searches.get_search(search.id)

    def evaluations(self, candidate: Candidate) -> tuple[Evaluation, ...]:
        """Every evaluation of a candidate, by metric and attempt."""
        return self.worker.uow.read(lambda tx: EvaluationStore(tx).evaluations_of_candidates([candidate.id]))

    @staticmethod
    def _measure(device: PlayedDevice, base_us: float, sign: float) -> int:
        done = 0
        while (job := device.take()) is not None:
            device.measure(job, base_us + sign * _share(job) * 50.0)
            done += 1
        return done


def _share(job: Job) -> float:
    return int(read_payload(MeasurePayload, job.payload).latency_key[:6], 16) / 16**6


@pytest.fixture
def boards(sqlite_database: TestDatabase, tmp_path: Path) -> TwoBoards:
    return TwoBoards(sqlite_database, tmp_path)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_goes_by_the_latency_of_each_board(boards: TwoBoards, name: str) -> None:
    constraints = [{"metric": "latency_us", "maximum": 140.0}, {"metric": "latency_us@other", "maximum": 890.0}]
    search = boards.run(boards.worker.search(**BASE, algorithm=ALGORITHMS[name], constraints=constraints))
    assert search.state is SearchState.COMPLETED, search.reason
    candidates = boards.worker.candidates(search)
    assert len(candidates) == 12
    assert all(1000.0 - one.values[LATENCY_US] == pytest.approx(one.values[OTHER], abs=0.01) for one in candidates)
    feasible = [one for one in candidates if one.values[LATENCY_US] <= 140.0 and one.values[OTHER] <= 890.0]
    front = boards.worker.fronts.of_search(search.id)
    assert {one.id for one in front.points} == {one.id for one in feasible}, (
        "what is better on one is worse on the other"
    )
    assert search.progress.num_unmet == 12 - len(feasible)


def test_a_predictor_is_fitted_for_the_latency_of_each_board(boards: TwoBoards) -> None:
    search = boards.run(boards.worker.search(**BASE, algorithm=ALGORITHMS["predictor_assisted"]))
    assert set(boards.worker.report(search, "predictors")) >= {LATENCY_US.name, OTHER.name}


def test_a_worker_that_restarts_after_every_job_asks_the_same_candidates(boards: TwoBoards) -> None:
    measurement = {**BASE["measurement"], "reuse": False}
    spec = {**BASE, "measurement": measurement, "algorithm": ALGORITHMS["nsga2"]}
    undisturbed = boards.run(boards.worker.search(**spec))
    search = boards.run(boards.worker.search(**spec), forgets=True)
    asked = [[one.genotype for one in boards.worker.candidates(each)] for each in (undisturbed, search)]
    assert asked[0] == asked[1]


def test_a_board_that_is_not_needed_changes_nothing_that_is_asked(boards: TwoBoards) -> None:
    spec = {**BASE, "objectives": BASE["objectives"][:2], "algorithm": ALGORITHMS["nsga2"]}
    alone = boards.run(boards.worker.search(**{**spec, "boards": {}}))
    beside = boards.run(boards.worker.search(**spec))
    asked = [[one.genotype for one in boards.worker.candidates(each)] for each in (alone, beside)]
    assert asked[0] == asked[1]
    assert all(OTHER in one.values for one in boards.worker.candidates(beside))


def test_the_front_is_measured_again_on_every_board_before_the_end(boards: TwoBoards) -> None:
    spec = {**BASE, "measurement": {**BASE["measurement"], "confirm": "front"}, "algorithm": ALGORITHMS["random"]}
    search = boards.run(boards.worker.search(**spec))
    assert search.state is SearchState.COMPLETED, search.reason
    front = boards.worker.fronts.of_search(search.id)
    taken = [
        [(one.metric, one.attempt) for one in boards.evaluations(candidate) if one.metric in (LATENCY_US, OTHER)]
        for candidate in front.points
    ]
    wanted = [(metric, attempt) for metric in (LATENCY_US, OTHER) for attempt in (1, 2)]
    assert taken == [wanted] * len(front.points)
