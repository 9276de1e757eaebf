"""Searches that end by time, by the time of boards, or because what was wanted is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nas_engine.domain.metrics import MACS, TOP1
from server.artifacts.files import FileByteStore
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.spec import parse_search_spec
from server.candidates.states import EndReason, SearchState
from server.core.errors import InvalidSpecError
from server.jobs.spent.store import TimeStore
from server.jobs.states import JobKind
from server.jobs.tables import jobs, leases
from server.searches.history.times import time_of_search
from server.searches.steps.step import StepStatus
from server.searches.worker.stopping import StopFigures
from tests.support.samples.table_results import table_bytes
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World, lease_of
from tests.support.worlds.worker_world import WorkerWorld

DOCUMENT: dict[str, Any] = {
    "space": {"id": "mine"},
    "objectives": [{"metric": "top1"}, {"metric": "macs"}],
    "algorithm": {"kind": "nsga2", "population_size": 12},
    "budget": {"num_candidates": 60},
    "seed": 3,
}


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> WorkerWorld:
    world = WorkerWorld(sqlite_database, tmp_path)
    stored = world.artifacts.put(table_bytes(), "application/json")
    world.space_tables.register("mine", stored.sha256, world.spaces)
    return world


def begun(world: WorkerWorld, **changes: Any) -> Search:
    return world.searches.create_search(parse_search_spec({**DOCUMENT, **changes}))


def step(world: WorkerWorld, num: int = 1) -> None:
    for _ in range(num):
        job = world.claim()
        assert job is not None
        world.do(job)


def started_earlier(world: WorkerWorld, search: Search, seconds: float) -> None:
    """Store that it began to run so much earlier."""

    def work(tx: Any) -> None:
        locked = SearchStore(tx).lock_search(search.id)
        assert locked.started_at is not None
        SearchStore(tx).save_search(replace(locked, started_at=locked.started_at - timedelta(seconds=seconds)))

    world.uow.write(work)


def test_wall_time_counts_from_the_stored_start_whoever_runs_it(world: WorkerWorld) -> None:
    search = begun(world, stop={"wall_time_s": 3600})
    step(world, 2)
    assert world.searches.get_search(search.id).state is SearchState.RUNNING
    started_earlier(world, search, 3700)
    world.restart()
    world.run()
    ended = world.searches.get_search(search.id)
    assert (ended.state, ended.progress.end_reason) == (SearchState.COMPLETED, EndReason.WALL_TIME)
    assert ended.reason.startswith("wall_time: 3,70")
    assert "ends it after 3,600.0 s, 36 of the budget left" in ended.reason
    stands: Any = ended.progress.report["stop"]
    assert stands["wall_time_s"]["limit"] == 3600
    assert 3700 <= stands["wall_time_s"]["reached"] < 3800
    # What was asked is finished and told.
    assert (ended.progress.num_asked, ended.progress.num_complete) == (24, 24)
    assert ended.progress.front_size == len(world.fronts.of_search(search.id).points)


def test_a_search_that_waited_longer_than_its_wall_time_still_asks_a_generation(world: WorkerWorld) -> None:
    search = begun(world, stop={"wall_time_s": 60})
    started_earlier(world, search, 100)
    world.run()
    ended = world.searches.get_search(search.id)
    assert (ended.progress.end_reason, ended.progress.num_complete) == (EndReason.WALL_TIME, 12)


def test_what_is_left_of_a_search_is_no_more_than_its_wall_time(world: WorkerWorld) -> None:
    search = begun(world, stop={"wall_time_s": 3600}, budget={"num_candidates": 1_000_000})
    step(world)
    started_earlier(world, search, 3000)
    found = world.searches.get_search(search.id)
    left_s = world.uow.read(lambda tx: time_of_search(tx, found)).left_s
    assert left_s is not None
    assert 500 < left_s <= 600


def test_a_target_ends_a_search_at_the_first_feasible_candidate_that_meets_all_of_it(world: WorkerWorld) -> None:
    whole = begun(world)
    world.run()
    candidates = world.candidates(whole)
    accuracies = sorted(c.values[TOP1] for c in candidates)
    target = [{"metric": "top1", "minimum": accuracies[-3]}, {"metric": "macs", "maximum": 1e12}]
    search = begun(world, stop={"target": target})
    world.run()
    ended = world.searches.get_search(search.id)
    asked = world.candidates(ended)
    assert (ended.state, ended.progress.end_reason) == (SearchState.COMPLETED, EndReason.TARGET)
    assert [c.genotype for c in asked] == [c.genotype for c in candidates][: len(asked)]
    first = next(c for c in candidates if c.values[TOP1] >= accuracies[-3])
    assert len(asked) - 12 < first.seq <= len(asked) < 60
    assert ended.reason.startswith(f"target: candidate {first.seq} has ")
    stands: Any = ended.progress.report["stop"]
    assert stands["target"]["candidate_id"] == asked[first.seq - 1].id


def test_a_candidate_that_misses_a_constraint_reaches_no_target(world: WorkerWorld) -> None:
    whole = begun(world)
    world.run()
    best = max(world.candidates(whole), key=lambda c: c.values[TOP1])
    bound = {"metric": "top1", "minimum": best.values[TOP1]}
    below = {"metric": "top1", "maximum": best.values[TOP1] - 1e-6}
    search = begun(world, constraints=[below], stop={"target": [bound]})
    world.run()
    ended = world.searches.get_search(search.id)
    assert ended.progress.end_reason is not EndReason.TARGET
    assert ended.progress.num_asked == 60


def test_a_target_is_met_off_the_front_too(world: WorkerWorld) -> None:
    """A bound from below on what is minimised is met by candidates that others dominate."""
    whole = begun(world)
    world.run()
    front = {c.id for c in world.fronts.of_search(whole.id).points}
    dominated = next(c for c in world.candidates(whole) if c.id not in front)
    macs = dominated.values[MACS]
    target = [
        {"metric": "macs", "minimum": macs, "maximum": macs},
        {"metric": "top1", "maximum": dominated.values[TOP1]},
    ]
    search = begun(world, stop={"target": target})
    world.run()
    assert world.searches.get_search(search.id).progress.end_reason is EndReason.TARGET


def test_board_time_is_what_devices_held_its_jobs_and_ends_it(sqlite_database: TestDatabase, tmp_path: Path) -> None:
    service = World(sqlite_database, FileByteStore(tmp_path / "artifacts"))
    device = service.enrol()
    search = service.search(stop={"board_time_s": 30.0})

    def spent_s(id: str) -> float:
        return service.uow.read(lambda tx: TimeStore(tx).on_devices_s(id))

    service.worker.run()
    assert spent_s(search.id) == 0.0  # workers' leases are no time of boards
    assert device.run() == 3

    def took_long(tx: Any) -> None:
        of_search = sa.select(jobs.c.id).where(jobs.c.search_id == search.id)
        held = (leases.c.device_id.is_not(None), leases.c.job_id.in_(of_search))
        tx.connection.execute(sa.update(leases).where(*held).values(claimed_at=tx.now() - timedelta(seconds=12)))

    service.uow.write(took_long)
    assert 31 <= spent_s(search.id) < 60
    assert spent_s("srch_another") == 0.0
    step = service.dispatch.claim("worker-1", (JobKind.SEARCH_STEP,))
    assert step is not None
    given = service.steps.load(lease_of(step))
    assert given.search.id == search.id
    ended = StopFigures.of(given, lambda: service.fronts.of_search(search.id)).end(given)
    assert ended is not None
    assert (ended.ended, ended.end_reason) == (StepStatus.COMPLETED, EndReason.BOARD_TIME)
    assert ended.reason.startswith("board_time: devices were busy for it for 3")
    assert "after 30.0 s, 3 of the budget left" in ended.reason


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        ({"wall_time_s": 0}, "greater than 0|more than 0|above 0"),
        ({"wall_time_s": float("nan")}, "finite"),
        ({"board_time_s": float("inf")}, "finite"),
        ({"board_time_s": "5"}, "number"),
        ({"target": [{"metric": "top1"}]}, "target on top1 has neither minimum nor maximum: give one"),
        ({"target": [{"metric": "top1", "minimum": float("nan")}]}, "finite"),
        ({"target": [{"metric": "tpo1", "minimum": 0.5}]}, "did you mean top1"),
        ({"target": [{"metric": "latency_us", "maximum": 1}]}, "latency_us, which this search does not have: it has"),
        ({"target": [{"metric": "top1", "minimum": 0.5}, {"metric": "top1", "maximum": 0.6}]}, "names top1 twice"),
        ({"target": [{"metric": "top1", "minimum": 0.9, "maximum": 0.8}]}, "is above maximum"),
        ({"wall_time": 5}, "wall_time"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_what_is_wrong(stop: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        parse_search_spec({**DOCUMENT, "stop": stop})


def test_a_target_out_of_reach_is_refused_where_the_range_is_known(world: WorkerWorld) -> None:
    spec = parse_search_spec({**DOCUMENT, "stop": {"target": [{"metric": "macs", "maximum": 1}]}})
    (violation,) = world.searches.validate(spec).violations
    assert violation.pointer == "/stop/target/0/maximum"
    assert "the feasible range is" in violation.message


def test_rules_that_are_not_given_stand_in_no_document() -> None:
    stop = {"plateau": {"share": 0.1, "num_candidates": 10}}
    assert parse_search_spec({**DOCUMENT, "stop": stop}).model_dump(mode="json")["stop"] == stop
