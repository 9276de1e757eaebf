"""The type that a job asks for binds, and devices fetch what their own jobs need and nothing else. Over real gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device_agent.failures import JobFailedError
from nas_engine.domain.measurement import DeviceClass
from nas_engine.domain.metrics import LATENCY_US
from server.fleet.device import DeviceState
from server.jobs.states import JobState
from tests.support.worlds.agent_bench import GOLDEN, Bench, RawAgent, identity
from tests.support.worlds.databases import TestDatabase

EMULATOR = identity(DeviceClass.EMULATED, "onnxruntime")


@pytest.fixture
def bench(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(sqlite_database, tmp_path, golden=True)
    yield opened
    opened.close()


@pytest.fixture
def emu(bench: Bench) -> RawAgent:
    return bench.agent("emu-1", EMULATOR, device_type="emu")


@pytest.fixture
def emu4(bench: Bench) -> RawAgent:
    """Another type of device with the very same hardware key."""
    return bench.agent("emu4-1", EMULATOR, device_type="emu4")


def spec_of(device_type: str) -> dict[str, Any]:
    return {"device": {"device_type": device_type}, "budget": {"num_candidates": 1}}


def test_a_job_is_not_taken_by_another_type_with_an_equal_hardware_key(
    bench: Bench, emu: RawAgent, emu4: RawAgent
) -> None:
    assert emu.device.capabilities.pool_keys() == emu4.device.capabilities.pool_keys()
    job = bench.submit(emu)
    assert bench.world.dispatch.place(job.id).num_takers == 1  # type: ignore[union-attr]
    assert emu4.sync().assignments == []
    emu.measured(emu.take())
    assert bench.world.dispatch.get(job.id).state is JobState.DONE
    assert [one.device_type for one in bench.measurements(emu)] == ["emu"]
    assert bench.measurements(emu4) == ()


def test_a_result_of_another_type_is_not_reused(bench: Bench, emu: RawAgent, emu4: RawAgent) -> None:
    world = bench.world
    world.search(**spec_of("emu"))
    world.worker.run()
    emu.measured(emu.take(), 100.0)
    other = world.search(**spec_of("emu4"))
    world.worker.run()
    assert emu.sync().assignments == []
    assert world.candidates(other)[0].value(LATENCY_US) is None
    emu4.measured(emu4.take(), 200.0)
    assert world.candidates(other)[0].value(LATENCY_US) == 200.0


def test_searches_on_two_types_do_not_share_the_job_under_way(bench: Bench, emu: RawAgent, emu4: RawAgent) -> None:
    world = bench.world
    on_emu, on_emu4 = world.search(**spec_of("emu")), world.search(**spec_of("emu4"))
    world.worker.run()
    first, second = emu.take(), emu4.take()
    assert first.lease.job_id != second.lease.job_id
    emu.measured(first, 100.0)
    assert world.candidates(on_emu)[0].value(LATENCY_US) == 100.0
    assert world.candidates(on_emu4)[0].value(LATENCY_US) is None
    emu4.measured(second, 200.0)
    assert world.candidates(on_emu4)[0].value(LATENCY_US) == 200.0


def test_a_lease_of_the_wrong_type_from_before_is_evidence_alone(bench: Bench, emu: RawAgent, emu4: RawAgent) -> None:
    job = bench.submit(emu)
    assignment = emu.take()
    bench.world.database.execute("UPDATE jobs SET target_device_type = 'emu4' WHERE id = :id", id=job.id)
    assert "is of type 'emu', the job asks for 'emu4'" in emu.measured(assignment).reason
    assert [one.suspect for one in bench.measurements(emu)] == [True]
    assert bench.world.dispatch.get(job.id).state is JobState.QUEUED


def test_a_device_fetches_what_its_own_jobs_need(bench: Bench, emu: RawAgent) -> None:
    board = bench.agent("board-1", identity())
    bench.submit(emu, b"a model for emu")
    with pytest.raises(JobFailedError, match="PERMISSION_DENIED"):
        emu.fetch(bench.world.artifacts.put(b"a model for emu", "application/octet-stream").sha256)
    assignment = emu.take()
    wanted = assignment.measure.model.sha256
    assert emu.fetch(wanted) == b"a model for emu"
    with pytest.raises(JobFailedError, match="belongs to no job that device"):
        board.fetch(wanted)
    emu.measured(assignment)
    assert emu.fetch(wanted) == b"a model for emu", "an agent may finish a download that it began"


@pytest.mark.parametrize("what", ["a secret of another team", "nothing at all"])
def test_a_device_cannot_tell_what_else_is_stored(bench: Bench, emu: RawAgent, what: str) -> None:
    sha256 = "cd" * 32
    if what != "nothing at all":
        sha256 = bench.world.artifacts.put(what.encode(), "text/plain").sha256
    bench.submit(emu)
    emu.take()
    with pytest.raises(JobFailedError, match="PERMISSION_DENIED: artifact .* belongs to no job"):
        emu.fetch(sha256)


def test_a_board_with_a_job_fetches_the_golden_model_of_its_format(bench: Bench) -> None:
    board = bench.agent()
    bench.submit(board)
    canary = board.take().measure.canary.model.sha256
    assert board.fetch(canary) == GOLDEN
    idle = bench.agent("idle")
    with pytest.raises(JobFailedError, match="PERMISSION_DENIED"):
        idle.fetch(canary)


def test_a_quarantined_device_fetches_nothing(bench: Bench, emu: RawAgent) -> None:
    bench.submit(emu)
    wanted = emu.take().measure.model.sha256
    bench.world.devices.set_state(emu.me.agent_id, DeviceState.QUARANTINED, "looked at")
    with pytest.raises(JobFailedError, match="is quarantined"):
        emu.fetch(wanted)
    bench.world.devices.set_state(emu.me.agent_id, DeviceState.ACTIVE)
    assert emu.fetch(wanted) == b"a model"
