"""Real agent processes at the real agents' endpoint, before the real service and its database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Dtype, HardwareKey
from server.artifacts.artifact import ModelFormat
from server.artifacts.files import FileByteStore
from server.bootstrap.agents import agent_services
from server.bootstrap.job_kinds import all_job_kinds
from server.core.paging import PageRequest
from server.fleet.device import Device, DeviceQuery, HardwareProfile
from server.fleet.rpc_server import RpcServer, TlsFiles, start_rpc_server
from server.jobs.job import Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import LeaseSettings
from server.jobs.states import JobKind, JobPhase
from server.measuring.canaries.canaries import Canaries, CanarySettings, GoldenModel
from server.measuring.canaries.canary import CanaryRecord
from server.measuring.measurement import MeasurementKind, MeasurementQuery, MeasurementRecord
from server.measuring.payloads import ClassifyPayload, MeasurePayload
from server.measuring.store import MeasurementStore
from tests.support.fakes.faults import Faults
from tests.support.processes.agent_process import AgentProcess
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World

# Long enough that a busy machine loses no lease by itself; tests that want one dead kill it.
LEASES = LeaseSettings(ttl_s=30.0, accept_s=3.0, max_wait_s=1.0, device_timeout_s=3.0)
FAKE = ("--runtime", "fake", "--isolation", "none", "--device-type", "fake-board", "--poll-s", "1")
FAKE_CHILD = ("--runtime", "fake", "--device-type", "fake-board", "--poll-s", "1")
ONNXRUNTIME = ("--runtime", "onnxruntime", "--device-type", "cpu", "--poll-s", "1")
GOLDEN = json.dumps({"hilnas_fake": 1, "latency_us": 2000.0}).encode()


class EagerLeases(LeaseSettings):
    """Leases that live as long and are renewed every tenth of a second: orders reach a running job at once."""

    @property
    def renew_every_s(self) -> float:
        return 0.1


EAGER = EagerLeases(ttl_s=30.0, accept_s=3.0, max_wait_s=1.0, device_timeout_s=3.0)


class Farm:
    """A service with an agents' endpoint, and the agents dialled in to it."""

    def __init__(
        self,
        database: TestDatabase,
        folder: Path,
        address: str = "127.0.0.1:0",
        *,
        leases: LeaseSettings = LEASES,
        tls: TlsFiles | None = None,
    ) -> None:
        self.world = World(database, FileByteStore(folder / "artifacts"), leases)
        golden = self.world.artifacts.put(GOLDEN, "application/json")
        model = GoldenModel(sha256=golden.sha256, size_bytes=golden.size_bytes, format=ModelFormat.ONNX)
        canaries = Canaries(self.world.uow, [model], CanarySettings(every_s=600.0))
        world, self.faults = self.world, Faults()
        services = agent_services(world.uow, database.wakeups, all_job_kinds(), world.artifacts, canaries, leases)
        self.services, self._tls = self.faults.around(services), tls
        self.server: RpcServer = start_rpc_server(self.services, address, tls=tls, num_threads=16)
        self._folder = folder
        self.agents: list[AgentProcess] = []

    def serve_again(self) -> None:
        """Listen anew at the port of the server that was stopped."""
        address = f"127.0.0.1:{self.server.port}"
        self.server = start_rpc_server(self.services, address, tls=self._tls, num_threads=16)

    def start(
        self, *arguments: str, name: str = "bench-1", token: str | None = None, insecure: bool = True
    ) -> AgentProcess:
        """One more agent."""
        token = token or self.world.secrets.enrolment_token
        options = arguments or FAKE
        agent = AgentProcess(self._folder, self.server.port, *options, name=name, token=token, insecure=insecure)
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

    def until_in(self, job: Job, *phases: JobPhase) -> None:
        """Wait until a job's agent said that it is in one of the phases."""
        self.until(lambda: any(phase in phases for phase in self.faults.phases.get(job.id, ())), 60.0)

    def device(self, name: str = "bench-1") -> Device:
        """The device of that name."""
        self.until(lambda: any(d.name == name for d in self.devices()))
        return next(d for d in self.devices() if d.name == name)

    def devices(self) -> tuple[Device, ...]:
        """Every device that enrolled."""
        return self.world.devices.page(DeviceQuery(), PageRequest(100)).items

    def submit(
        self,
        model: bytes,
        *,
        latency_key: str = "",
        max_attempts: int = 3,
        like: str = "bench-1",
        profile: str = "quick",
        timeout_s: float = 30.0,
    ) -> Job:
        """Queue a measurement for whatever device is like the one of that name."""
        artifact = self.world.artifacts.put(model, "application/octet-stream")
        key = HardwareKey(identity=self.device(like).capabilities.identity, dtype=Dtype.FP32)
        payload = MeasurePayload(
            model_sha256=artifact.sha256,
            model_format=ModelFormat.ONNX,
            profile=profile,
            dtype="fp32",
            batch=1,
            latency_key=latency_key or artifact.sha256,
            hardware_key=key.digest,
            core_mask=key.identity.core_mask,
            validity_policy="accept_flagged",  # a busy machine's noise must not decide
            timeout_s=timeout_s,
        )
        return self._queue(JobKind.MEASURE, payload, key, max_attempts)

    def submit_images(self, model: bytes, images: bytes, num_images: int, *, like: str = "bench-1") -> Job:
        """Queue a classification, tried once, for whatever device is like the one of that name."""
        sha256 = self.world.artifacts.put(model, "application/octet-stream").sha256
        key = HardwareKey(identity=self.device(like).capabilities.identity, dtype=Dtype.FP32)
        payload = ClassifyPayload(
            model_sha256=sha256,
            source_sha256=sha256,
            model_format=ModelFormat.ONNX,
            images_sha256=self.world.artifacts.put(images, "application/octet-stream").sha256,
            num_images=num_images,
            dtype="fp32",
            batch=1,
            hardware_key=key.digest,
            core_mask=key.identity.core_mask,
            timeout_s=60.0,
        )
        return self._queue(JobKind.CLASSIFY, payload, key, max_attempts=1)

    def _queue(
        self, kind: JobKind, payload: MeasurePayload | ClassifyPayload, key: HardwareKey, max_attempts: int
    ) -> Job:
        job = NewJob(
            kind=kind,
            payload=payload.to_json(),
            target=JobTarget(pool_key=HardwareProfile(key=key).pool_key),
            latency_key=payload.latency_key if isinstance(payload, MeasurePayload) else None,
            hardware_key=key.digest,
            max_attempts=max_attempts,
        )
        return self.world.uow.write(lambda tx: JobStore(tx).add_job(job))

    def final(self, job: Job) -> Job:
        """The job once it is over."""
        self.until(lambda: self.world.dispatch.get(job.id).state.final, 60.0)
        return self.world.dispatch.get(job.id)

    def failures(self, job: Job) -> list[FailureType]:
        """How the attempts of a job failed, oldest first."""
        return [lease.failure_type for lease in self.world.dispatch.history(job.id) if lease.failure_type is not None]

    def lose(self, job: Job) -> None:
        """Let the job's lease die, as if its time had passed."""
        self.world.database.kill_lease(job.id)
        self.world.dispatch.sweep()

    def canaries(self, device: Device) -> tuple[CanaryRecord, ...]:
        """Canary runs of a device, newest first."""
        return self.world.latencies.page_of_canaries(device.id, PageRequest(10)).items

    def measurements(self, job: Job | None = None) -> tuple[MeasurementRecord, ...]:
        """Everything stored, or what is stored of one job."""
        query = MeasurementQuery(kinds=tuple(MeasurementKind), include_superseded=True, include_suspect=True)
        page = self.world.uow.read(lambda tx: MeasurementStore(tx).page_of_measurements(query, PageRequest(1000)))
        return tuple(record for record in page.items if job is None or record.job_id == job.id)


def fake_model(**script: object) -> bytes:
    """A model of the fake runtime, which does as the script says."""
    return json.dumps({"hilnas_fake": 1, **script}).encode()
