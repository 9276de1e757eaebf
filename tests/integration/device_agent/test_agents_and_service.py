"""Real agent processes, the real gRPC endpoint, the real service and its database: nothing is played."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Dtype, HardwareKey, Validity
from server.artifacts.artifact import ModelFormat
from server.artifacts.files import FileByteStore
from server.bootstrap.agents import agent_services
from server.bootstrap.job_kinds import all_job_kinds
from server.core.paging import PageRequest
from server.fleet.device import Device, DeviceQuery, DeviceState, HardwareProfile
from server.fleet.rpc_server import RpcServer, start_rpc_server
from server.jobs.job import Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import LeaseSettings
from server.jobs.states import JobKind, JobState
from server.measuring.canaries.canaries import Canaries, CanarySettings, GoldenModel
from server.measuring.canaries.canary import CanaryRecord
from server.measuring.measurement import MeasurementKind, MeasurementQuery, MeasurementRecord
from server.measuring.payloads import MeasurePayload
from server.measuring.store import MeasurementStore
from tests.support.processes.agent_process import AgentProcess
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World

# Long enough that a busy machine loses no lease by itself; tests that want one dead kill it.
LEASES = LeaseSettings(ttl_s=30.0, accept_s=3.0, max_wait_s=1.0, device_timeout_s=3.0)
FAKE = ("--runtime", "fake", "--isolation", "none", "--device-type", "fake-board", "--poll-s", "1")
GOLDEN = json.dumps({"hilnas_fake": 1, "latency_us": 2000.0}).encode()


class Farm:
    """A service with an agents' endpoint, and the agents dialled in to it."""

    def __init__(self, database: TestDatabase, folder: Path, address: str = "127.0.0.1:0") -> None:
        self.world = World(database, FileByteStore(folder / "artifacts"), LEASES)
        golden = self.world.artifacts.put(GOLDEN, "application/json")
        model = GoldenModel(sha256=golden.sha256, size_bytes=golden.size_bytes, format=ModelFormat.ONNX)
        canaries = Canaries(self.world.uow, [model], CanarySettings(every_s=600.0))
        world = self.world
        services = agent_services(world.uow, database.wakeups, all_job_kinds(), world.artifacts, canaries, LEASES)
        self.server: RpcServer = start_rpc_server(services, address, num_threads=16)
        self._folder = folder
        self.agents: list[AgentProcess] = []

    def start(self, *arguments: str, name: str = "bench-1") -> AgentProcess:
        """One more agent."""
        token = self.world.secrets.enrolment_token
        agent = AgentProcess(self._folder, self.server.port, *(arguments or FAKE), name=name, token=token)
        self.agents.append(agent)
        return agent

    def close(self) -> None:
        """End agents and endpoint."""
        for agent in self.agents:
            agent.end()
        self.server.stop(0.0)

    def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait, sweeping dead leases as the server's housekeeping does."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "it did not happen: " + "; ".join(a.log[-1500:] for a in self.agents)
            self.world.dispatch.sweep()
            self.world.database.skip_backoff()
            time.sleep(0.05)

    def device(self, name: str = "bench-1") -> Device:
        """The device of that name."""
        self.until(lambda: any(d.name == name for d in self._devices()))
        return next(d for d in self._devices() if d.name == name)

    def _devices(self) -> tuple[Device, ...]:
        return self.world.devices.page(DeviceQuery(), PageRequest(100)).items

    def submit(self, model: bytes, *, latency_key: str = "lk", max_attempts: int = 3, like: str = "bench-1") -> Job:
        """Queue a measurement for whatever device is like the one of that name."""
        artifact = self.world.artifacts.put(model, "application/octet-stream")
        key = HardwareKey(identity=self.device(like).capabilities.identity, dtype=Dtype.FP32)
        payload = MeasurePayload(
            model_sha256=artifact.sha256,
            model_format=ModelFormat.ONNX,
            profile="quick",
            dtype="fp32",
            batch=1,
            latency_key=latency_key,
            hardware_key=key.digest,
            core_mask=key.identity.core_mask,
            validity_policy="accept_flagged",  # a busy machine's noise must not decide
            timeout_s=30.0,
        )
        job = NewJob(
            kind=JobKind.MEASURE,
            payload=payload.to_json(),
            target=JobTarget(pool_key=HardwareProfile(key=key).pool_key),
            latency_key=latency_key,
            hardware_key=key.digest,
            max_attempts=max_attempts,
        )
        return self.world.uow.write(lambda tx: JobStore(tx).add_job(job))

    def final(self, job: Job) -> Job:
        """The job once it is over."""
        self.until(lambda: self.world.dispatch.get(job.id).state.final)
        return self.world.dispatch.get(job.id)

    def lose(self, job: Job) -> None:
        """Let the job's lease die, as if its time had passed."""
        self.world.database.kill_lease(job.id)
        self.world.dispatch.sweep()

    def canaries(self, device: Device) -> tuple[CanaryRecord, ...]:
        """Canary runs of a device, newest first."""
        return self.world.latencies.page_of_canaries(device.id, PageRequest(10)).items

    def measurements(self) -> tuple[MeasurementRecord, ...]:
        """Everything stored."""
        query = MeasurementQuery(kinds=tuple(MeasurementKind), include_superseded=True, include_suspect=True)
        return self.world.uow.read(lambda tx: MeasurementStore(tx).page_of_measurements(query, PageRequest(1000))).items


@pytest.fixture
def farm(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Farm]:
    opened = Farm(sqlite_database, tmp_path)
    yield opened
    opened.close()


def fake_model(**script: object) -> bytes:
    return json.dumps({"hilnas_fake": 1, **script}).encode()


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
    assert "1.3" in device.reason
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
