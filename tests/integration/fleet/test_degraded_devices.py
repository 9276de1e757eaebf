"""A degraded device heals by a good canary or a person, and by nothing that its agent says. Over real gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hilnas.v1 import control_pb2
from server.fleet.device import DeviceState
from server.jobs.states import JobState
from tests.support.worlds.agent_bench import Bench, RawAgent
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import Farm, fake_model


@pytest.fixture
def bench(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(sqlite_database, tmp_path, golden=True)
    yield opened
    opened.close()


@pytest.fixture
def board(bench: Bench) -> RawAgent:
    """A board with a good canary behind it."""
    agent = bench.agent()
    bench.submit(agent, b"first")
    agent.measured(agent.take(), canary_us=1000.0)
    return agent


def test_a_plain_sync_does_not_heal(board: RawAgent) -> None:
    board.sync(degraded=True)
    assert board.device.state is DeviceState.DEGRADED
    for _ in range(3):
        answer = board.sync()
        assert answer.assignments == []
    assert board.device.state is DeviceState.DEGRADED
    assert board.device.reason == "the canary is slow"


def test_a_new_start_of_the_agent_does_not_heal(board: RawAgent) -> None:
    board.sync(degraded=True)
    board.me.instance_epoch += 1
    board.sync()
    assert board.device.state is DeviceState.DEGRADED


def test_one_job_with_a_canary_shows_whether_the_board_is_well(bench: Bench, board: RawAgent) -> None:
    board.sync(degraded=True)
    for model in (b"second", b"third"):
        bench.submit(board, model)
    assert board.sync(degraded=True).assignments == [], "not while the agent itself says that it is not well"
    assignment = board.take()
    assert assignment.measure.canary.baseline_us == 1000.0
    assert board.sync().assignments == [], "one at a time"
    board.measured(assignment, canary_us=1001.0)
    assert board.device.state is DeviceState.ACTIVE
    assert board.device.reason == "the canary is well again"
    assert len(board.sync().assignments) == 1


def test_a_job_without_its_canary_does_not_heal(bench: Bench, board: RawAgent) -> None:
    board.sync(degraded=True)
    bench.submit(board, b"second")
    board.measured(board.take())
    assert board.device.state is DeviceState.DEGRADED


def test_without_a_golden_model_only_a_person_heals(sqlite_database: TestDatabase, tmp_path: Path) -> None:
    bench = Bench(sqlite_database, tmp_path)
    try:
        board = bench.agent()
        board.sync(degraded=True)
        bench.submit(board)
        answer = board.sync()
        assert answer.session == control_pb2.SESSION_STATE_PAUSED
        assert answer.message.endswith("a good canary or a person brings it back")
        bench.world.devices.set_state(board.me.agent_id, DeviceState.ACTIVE, "looked at")
        assert len(board.sync().assignments) == 1
    finally:
        bench.close()


def test_a_real_agent_that_is_well_again_shows_it_with_the_next_job(
    sqlite_database: TestDatabase, tmp_path: Path
) -> None:
    farm = Farm(sqlite_database, tmp_path)
    try:
        farm.start()
        farm.final(farm.submit(fake_model(latency_us=700.0)))
        farm.until(lambda: len(farm.canaries(farm.device())) == 1)
        farm.world.devices.set_state(farm.device().id, DeviceState.DEGRADED, "it was hot in the rack")
        job = farm.final(farm.submit(fake_model(latency_us=750.0), latency_key="next"))
        assert job.state is JobState.DONE
        farm.until(lambda: farm.device().state is DeviceState.ACTIVE)
        assert farm.device().reason == "the canary is well again"
        assert len(farm.canaries(farm.device())) == 2
    finally:
        farm.close()
