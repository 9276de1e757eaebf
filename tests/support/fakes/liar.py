"""An enrolled board that lies: a real client of the agents' endpoint, its lies, and what the service makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from hilnas.v1 import control_pb2, control_pb2_grpc, measurement_pb2
from hilnas.wire import identity_to_proto, measurement_to_proto
from nas_engine.domain.measurement import (
    CanaryReading,
    ClockReading,
    DeviceClass,
    Dtype,
    EnvironmentRecord,
    HardwareKey,
    Measurement,
    SampleBlock,
    ValidityPolicy,
)
from nas_engine.domain.measuring.profile import MAX_RUNS_PER_BLOCK
from server.artifacts.artifact import ModelFormat
from server.artifacts.files import FileByteStore
from server.bootstrap.agents import agent_services
from server.bootstrap.job_kinds import all_job_kinds
from server.core.paging import PageRequest
from server.fleet.device import HardwareProfile
from server.fleet.rpc_server import start_rpc_server
from server.jobs.job import Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from server.measuring.canaries.canaries import Canaries, CanarySettings, GoldenModel
from server.measuring.evidence import find_reusable
from server.measuring.measurement import MeasurementQuery, MeasurementRecord
from server.measuring.payloads import MeasurePayload
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import IDENTITY, PlayedDevice, World

BOARD = replace(IDENTITY, device_class=DeviceClass.BOARD, clocks_profile="pinned-max", core_mask="0x1")
KEY = HardwareKey(identity=BOARD, dtype=Dtype.FP32)
PINNED = (ClockReading(name="npu", requested_khz=1_000_000, effective_khz=1_000_000),)
ENVIRONMENT = EnvironmentRecord(
    agent_version="1", protocol_version=1, clocks=PINNED, core_mask="0x1", timer_resolution_ns=1
)
GOLDEN_US, ANSWER = 2000.0, "a" * 64
EVERYTHING = MeasurementQuery(kinds=(), include_superseded=True, include_suspect=True)


def honest_samples(latency_us: float = 5000.0, num_blocks: int = 3) -> tuple[SampleBlock, ...]:
    """What the protocol takes of a steady model in a quick profile."""
    latency_ns = round(latency_us * 1000)
    num_runs = min(max(10, -(-100_000_000 // latency_ns)), MAX_RUNS_PER_BLOCK)
    return (SampleBlock(e2e_ns=(latency_ns,) * num_runs),) * num_blocks


def reading(sha256: str, median_us: float = GOLDEN_US, answer: str | None = ANSWER) -> CanaryReading:
    """A canary as a well board runs it."""
    return CanaryReading(artifact_sha256=sha256, median_us=median_us, ratio=1.0, output_digest=answer)


@dataclass
class Order:
    """A job as the liar was given it."""

    job: Job
    assignment: control_pb2.Assignment

    @property
    def golden(self) -> str:
        """The golden model that was asked for; empty for none."""
        return str(self.assignment.measure.canary.model.sha256)


class Liar:
    """A service with canaries around every job, and enrolled boards that speak to it over gRPC."""

    def __init__(self, database: TestDatabase, folder: Path, *, canaries: bool = True) -> None:
        self.world = World(database, FileByteStore(folder / "artifacts"))
        golden = self.world.artifacts.put(b"the golden model", "application/onnx")
        self.model = self.world.artifacts.put(b"a model", "application/onnx")
        models = [GoldenModel(sha256=golden.sha256, size_bytes=golden.size_bytes, format=ModelFormat.ONNX)]
        self.canaries = Canaries(self.world.uow, models if canaries else [], CanarySettings(every_s=0.0))
        services = agent_services(
            self.world.uow, database.wakeups, all_job_kinds(), self.world.artifacts, self.canaries
        )
        self._server = start_rpc_server(services, "127.0.0.1:0", num_threads=4)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self._server.port}")
        self._stub = control_pb2_grpc.AgentControlStub(self._channel)
        self._num_jobs = 0

    def enrol(self, name: str = "board") -> PlayedDevice:
        """One more board of the pool."""
        return self.world.enrol(name, BOARD)

    def order(
        self, device: PlayedDevice, profile: str = "quick", policy: ValidityPolicy = ValidityPolicy.REQUIRE, **more: Any
    ) -> Order:
        """Queue a job of its own latency key, and have the board ask for it."""
        self._num_jobs += 1
        latency_key = hashlib.sha256(str(self._num_jobs).encode()).hexdigest()
        payload = MeasurePayload(
            model_sha256=self.model.sha256,
            model_format=ModelFormat.ONNX,
            profile=profile,  # type: ignore[arg-type]
            dtype="fp32",
            batch=1,
            latency_key=latency_key,
            hardware_key=KEY.digest,
            core_mask=BOARD.core_mask,
            validity_policy=policy.value,
            timeout_s=30.0,
            **more,
        )
        new = NewJob(
            kind=JobKind.MEASURE,
            payload=payload.to_json(),
            target=JobTarget(device_type="testboard", pool_key=HardwareProfile(key=KEY).pool_key),
            latency_key=latency_key,
            hardware_key=KEY.digest,
            priority=self._num_jobs,  # before those of earlier orders that wait for another attempt
        )
        job = self.world.uow.write(lambda tx: JobStore(tx).add_job(new))
        request = control_pb2.SyncRequest(
            agent=self._speaks_as(device),
            capabilities=control_pb2.Capabilities(
                identity=identity_to_proto(BOARD), dtypes=[measurement_pb2.DTYPE_FP32], model_formats=["onnx"]
            ),
            free_slots=1,
        )
        answer = self._stub.Sync(request, metadata=_metadata(device), timeout=60.0)
        (assignment,) = answer.assignments
        assert assignment.lease.job_id == job.id
        return Order(self.world.dispatch.get(job.id), assignment)

    def honest(self, order: Order, **lies: Any) -> Measurement:
        """What an honest board measured, but for the lies."""
        canary = reading(order.golden) if order.golden else None
        measured = Measurement(
            blocks=honest_samples(),
            flags=(),
            environment=ENVIRONMENT,
            hardware_key=KEY,
            load_us=1.0,
            init_us=2.0,
            first_run_us=3.0,
            canary_before=canary,
            canary_after=canary,
        )
        return replace(measured, **lies)

    def put(
        self,
        device: PlayedDevice,
        order: Order,
        measured: Measurement,
        spoil: Callable[[measurement_pb2.Measurement], None] | None = None,
    ) -> control_pb2.PutResultResponse:
        """Hand a result in.

        Args:
            spoil: changes the message where a value of ours could not be that wrong.
        """
        message = measurement_to_proto(measured)
        if spoil is not None:
            spoil(message)
        data = control_pb2.ResultEnvelope(lease=order.assignment.lease, measurement=message).SerializeToString()
        request = control_pb2.PutResultRequest(
            agent=self._speaks_as(device), envelope=data, envelope_sha256=hashlib.sha256(data).hexdigest()
        )
        answer: control_pb2.PutResultResponse = self._stub.PutResult(request, metadata=_metadata(device), timeout=60.0)
        return answer

    def record(self, order: Order) -> MeasurementRecord:
        """The one record that a job brought."""
        page = self.world.latencies.page_of_measurements(EVERYTHING, PageRequest(1000))
        (found,) = [one for one in page.items if one.job_id == order.job.id]
        return found

    def reusable(self, order: Order, policy: ValidityPolicy = ValidityPolicy.REQUIRE) -> MeasurementRecord | None:
        """What a search would reuse for this job's network."""
        assert order.job.latency_key is not None
        key = order.job.latency_key
        everything = ("quick", "standard", "audit")
        return self.world.uow.read(
            lambda tx: find_reusable(tx, key, HardwareProfile(key=KEY), "testboard", everything, policy)
        )

    def listed(self) -> set[str]:
        """Jobs whose measurements a latency query lists unasked."""
        page = self.world.latencies.page_of_measurements(MeasurementQuery(), PageRequest(1000))
        return {one.job_id for one in page.items if one.job_id is not None}

    def order_baseline(self, device: PlayedDevice) -> float:
        """The baseline that the board's next canary will be held to."""
        self.forgive()
        return float(self.order(device).assignment.measure.canary.baseline_us)

    def forgive(self) -> None:
        """Let every board be as if it had never been caught."""
        self.world.database.execute("UPDATE devices SET state = 'active', reason = '', num_failures_in_a_row = 0")
        self.forget_jobs()

    def forget_jobs(self) -> None:
        """Let no job wait: one that was given back is due again in a moment, before those that are new."""
        self.world.database.execute("UPDATE jobs SET state = 'cancelled' WHERE state IN ('queued', 'leased')")

    def close(self) -> None:
        """End channel and endpoint."""
        self._channel.close()
        self._server.stop(0.0)

    @staticmethod
    def _speaks_as(device: PlayedDevice) -> control_pb2.AgentIdentity:
        return control_pb2.AgentIdentity(
            agent_id=device.id,
            instance_epoch=1,
            boot_id=device.device.boot_id,
            agent_version="1",
            protocol_min=1,
            protocol_max=1,
        )


def _metadata(device: PlayedDevice) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {device.credential}"),)
