"""Real agent processes, the real gRPC endpoint, the real service and its database: nothing is played."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Validity
from server.fleet.device import DeviceState
from server.jobs.states import JobState
from server.measuring.measurement import MeasurementKind
from tests.support.processes.agent_process import AgentProcess
from tests.support.worlds.farm import FAKE, Farm, fake_model


def test_a_job_becomes_a_measurement_with_its_canary(farm: Farm) -> None:
    farm.start()
    job = farm.final(farm.submit(fake_model(latency_us=700.0)))
    assert job.state is JobState.DONE
    (record,) = farm.measurements()
    assert record.stats.p50_us == pytest.approx(700.0, rel=0.02)
    assert (record.kind, record.validity) == (MeasurementKind.SIMULATED, Validity.VALID)
    farm.until(lambda: farm.device().last_canary_at is not None)
    (canary,) = farm.canaries(farm.device())
    assert canary.passed
    assert canary.median_us == pytest.approx(2000.0, rel=0.02)


def test_two_boards_of_one_kind_share_a_queue_and_nothing_is_measured_twice(farm: Farm) -> None:
    farm.start(name="bench-1")
    farm.start(name="bench-2")
    farm.device("bench-2")
    jobs = [farm.submit(fake_model(latency_us=100.0 + n), latency_key=f"lk{n}") for n in range(12)]
    for job in jobs:
        assert farm.final(job).attempt == 1
    records = farm.measurements()
    assert len({r.job_id for r in records}) == len(records) == 12
    assert len({r.hardware_key for r in records}) == 1


def test_a_model_that_kills_its_process_is_given_up_and_the_device_is_not(farm: Farm) -> None:
    farm.start("--runtime", "fake", "--device-type", "fake-board", "--poll-s", "1")
    poison = farm.final(farm.submit(fake_model(fault="crash"), max_attempts=10))
    assert poison.state is JobState.FAILED
    assert poison.failure_type is FailureType.RUNTIME_CRASHED
    assert poison.attempt == 3  # the poison cap, not the attempts, ended it
    assert farm.device().state is DeviceState.ACTIVE
    assert farm.final(farm.submit(fake_model(), latency_key="other")).state is JobState.DONE


def test_a_board_that_slows_down_is_degraded_and_what_it_measured_becomes_suspect(farm: Farm) -> None:
    agent = farm.start()
    farm.final(farm.submit(fake_model(latency_us=700.0)))
    farm.until(lambda: len(farm.canaries(farm.device())) == 1)  # that of a fresh start
    after_canary = farm.final(farm.submit(fake_model(latency_us=750.0), latency_key="next"))
    agent.signal(signal.SIGTERM)
    agent.wait()
    farm.agents.clear()
    farm.start(*FAKE, "--fake-slowdown", "1.3")
    farm.submit(fake_model(latency_us=800.0), latency_key="second")
    farm.until(lambda: farm.device().state is DeviceState.DEGRADED)
    device = farm.device()
    assert "130 %" in device.reason
    bad, good = farm.canaries(device)
    assert (good.passed, bad.passed) == (True, False)
    assert bad.ratio == pytest.approx(1.3, rel=0.01)
    assert [r.job_id for r in farm.measurements() if r.suspect] == [after_canary.id]


def test_an_agent_killed_in_mid_measurement_loses_its_lease_and_the_job_is_done_once(farm: Farm) -> None:
    slow = ("--runtime", "fake", "--device-type", "fake-board", "--poll-s", "1", "--fake-real-time")
    agent = farm.start(*slow)
    job = farm.submit(fake_model(latency_us=20_000.0))
    farm.until(lambda: farm.world.dispatch.get(job.id).accepted)
    agent.kill()
    farm.lose(job)
    farm.start(*slow)
    done = farm.final(job)
    assert done.state is JobState.DONE
    assert len(farm.measurements()) == 1


def test_a_device_of_another_type_cannot_take_a_name_that_is_in_use(farm: Farm, tmp_path: Path) -> None:
    farm.start(name="bench-1")
    farm.device()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    options = ("--runtime", "fake", "--isolation", "none", "--device-type", "another-board")
    token = farm.world.secrets.enrolment_token
    other = AgentProcess(elsewhere, farm.server.port, *options, name="bench-1", token=token)
    farm.agents.append(other)
    farm.until(lambda: "choose another name" in other.log)
    assert farm.device().device_type == "fake-board"
