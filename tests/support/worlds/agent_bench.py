"""Agents that say whatever a test wants, over real gRPC against the real service."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from device_agent.server_link.link import Link
from device_agent.server_link.tls import LinkSettings
from device_agent.stop import StopToken
from hilnas.v1 import control_pb2, measurement_pb2
from hilnas.wire import measurement_to_proto
from nas_engine.domain.measurement import DeviceClass, DeviceIdentity, Dtype, HardwareKey, ValidityFlag
from server.artifacts.artifact import ModelFormat
from server.artifacts.files import FileByteStore
from server.bootstrap.agents import agent_services
from server.bootstrap.job_kinds import all_job_kinds
from server.core.paging import PageRequest
from server.fleet.device import Device, HardwareProfile
from server.fleet.rpc_server import start_rpc_server
from server.fleet.selection import format_for
from server.jobs.job import Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from server.measuring.canaries.canaries import Canaries, GoldenModel
from server.measuring.measurement import MeasurementKind, MeasurementQuery, MeasurementRecord
from server.measuring.payloads import MeasurePayload
from tests.support.fakes.faults import Faults
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.enrolment_tokens import token_for
from tests.support.worlds.service_world import World, measurement

CLASSES = {
    DeviceClass.BOARD: measurement_pb2.DEVICE_CLASS_BOARD,
    DeviceClass.EMULATED: measurement_pb2.DEVICE_CLASS_EMULATED,
    DeviceClass.SIMULATED: measurement_pb2.DEVICE_CLASS_SIMULATED,
}
GOLDEN = b"the golden model of the tests"


def identity(
    device_class: DeviceClass = DeviceClass.BOARD,
    runtime: str = "rknnlite",
    version: str = "2.3",
    clocks: str = "pinned-max",
    core_mask: str = "0x1",
) -> DeviceIdentity:
    """What an agent says its device is: an RK3588, unless changed."""
    return DeviceIdentity(
        board_model="Test RK3588",
        device_class=device_class,
        runtime=runtime,
        runtime_versions=((runtime, version),),
        clocks_profile=clocks,
        core_mask=core_mask,
    )


class Bench:
    """A service with its agents' endpoint on a port of its own, and canaries where `golden`."""

    def __init__(self, database: TestDatabase, folder: Path, *, golden: bool = False, num_threads: int = 8) -> None:
        self.world = World(database, FileByteStore(folder / "artifacts"))
        models = []
        if golden:
            stored = self.world.artifacts.put(GOLDEN, "application/octet-stream")
            for format in (ModelFormat.RKNN, ModelFormat.ONNX):
                models.append(GoldenModel(sha256=stored.sha256, size_bytes=stored.size_bytes, format=format))
        self.canaries = Canaries(self.world.uow, models)
        services = agent_services(
            self.world.uow, database.wakeups, all_job_kinds(), self.world.artifacts, self.canaries
        )
        self.faults = Faults()
        self.services = self.faults.around(services)
        self.server = start_rpc_server(self.services, "127.0.0.1:0", num_threads=num_threads)
        self._links: list[Link] = []

    def close(self) -> None:
        """End calls and server."""
        for link in self._links:
            link.close()
        self.server.stop(0.0)

    def link(self) -> Link:
        """A channel without a credential."""
        link = Link(LinkSettings(server=f"127.0.0.1:{self.server.port}", insecure=True))
        self._links.append(link)
        return link

    def token(self, device_class: DeviceClass = DeviceClass.BOARD, device_type: str = "rk3588") -> str:
        """A token that an admin makes."""
        return token_for(self.world.uow, device_class, device_type)

    def agent(
        self,
        name: str = "bench-1",
        said: DeviceIdentity | None = None,
        *,
        token: str | None = None,
        device_type: str = "rk3588",
        credential: str = "",
        boot_id: str = "boot-1",
    ) -> RawAgent:
        """An agent that enrols; raises grpc.RpcError where it is refused."""
        said = said or identity()
        link = self.link()
        me = control_pb2.AgentIdentity(boot_id=boot_id, instance_epoch=1, protocol_min=1, protocol_max=1)
        request = control_pb2.EnrollRequest(
            enrolment_token=token or self.token(said.device_class, device_type),
            name=name,
            device_type=device_type,
            agent=me,
            capabilities=capabilities(said),
        )
        answer = link.enroll(request, credential)
        link.set_credential(answer.credential)
        me.agent_id = answer.agent_id
        return RawAgent(self, link, me, said, answer.credential)

    def submit(self, agent: RawAgent, model: bytes = b"a model") -> Job:
        """Queue a measurement for devices of the type and hardware key of an agent."""
        job = self.order(agent, model)
        return self.world.uow.write(lambda tx: JobStore(tx).add_job(job))

    def submit_many(self, agent: RawAgent, num_jobs: int) -> None:
        """Queue so many at once."""
        jobs = [self.order(agent, b"a model")] * num_jobs
        self.world.uow.write(lambda tx: JobStore(tx).add_jobs(jobs))

    def order(self, agent: RawAgent, model: bytes) -> NewJob:
        """A measurement as it is queued."""
        artifact = self.world.artifacts.put(model, "application/octet-stream")
        device = agent.device
        profile = HardwareProfile(key=HardwareKey(identity=device.capabilities.identity, dtype=Dtype.FP32))
        payload = MeasurePayload(
            model_sha256=artifact.sha256,
            model_format=format_for(device.capabilities.identity.runtime),
            profile="quick",
            dtype="fp32",
            batch=1,
            latency_key=artifact.sha256,
            hardware_key=profile.hardware_key,
            core_mask=device.capabilities.identity.core_mask,
            validity_policy="accept_flagged",
            timeout_s=30.0,
        )
        return NewJob(
            kind=JobKind.MEASURE,
            payload=payload.to_json(),
            target=JobTarget(device_type=device.device_type, pool_key=profile.pool_key),
            latency_key=artifact.sha256,
            hardware_key=profile.hardware_key,
        )

    def measurements(self, agent: RawAgent) -> tuple[MeasurementRecord, ...]:
        """Everything that an agent's device measured, newest first."""
        query = MeasurementQuery(
            device_id=agent.me.agent_id,
            kinds=tuple(MeasurementKind),
            include_superseded=True,
            include_suspect=True,
        )
        return self.world.latencies.page_of_measurements(query, PageRequest(100)).items

    def go_offline(self) -> None:
        """As if no device had been heard of for an hour."""
        self.world.database.execute("UPDATE devices SET last_seen_at = last_seen_at - 3600000000")


@dataclass
class RawAgent:
    """An agent without a program: one call at a time, with what the test says."""

    bench: Bench
    link: Link
    me: control_pb2.AgentIdentity
    said: DeviceIdentity
    credential: str

    @property
    def device(self) -> Device:
        """The server's record of it."""
        return self.bench.world.devices.get(self.me.agent_id)

    def sync(
        self, said: DeviceIdentity | None = None, *, degraded: bool = False, core_masks: tuple[str, ...] = ()
    ) -> control_pb2.SyncResponse:
        """One Sync without waiting; what it says of itself is remembered."""
        self.said = said or self.said
        request = control_pb2.SyncRequest(
            agent=self.me,
            capabilities=capabilities(self.said, core_masks),
            free_slots=0 if degraded else 1,
            health=control_pb2.AgentHealth(degraded=degraded, reason="the canary is slow" if degraded else ""),
        )
        return self.link.sync(request).result()

    def take(self) -> control_pb2.Assignment:
        """A job that there must be, accepted."""
        (assignment,) = self.sync().assignments
        report = control_pb2.LeaseReport(lease=assignment.lease)
        self.link.renew(control_pb2.RenewRequest(agent=self.me, running=[report]), 10.0)
        return assignment

    def measured(
        self,
        assignment: control_pb2.Assignment,
        latency_us: float = 500.0,
        canary_us: float | None = None,
        flags: tuple[ValidityFlag, ...] = (),
    ) -> control_pb2.PutResultResponse:
        """Hand a result in under the identity that the agent says it has."""
        sent = measurement(latency_us, flags, identity=self.said)
        envelope = control_pb2.ResultEnvelope(lease=assignment.lease, measurement=measurement_to_proto(sent))
        if canary_us is not None:
            reading = measurement_pb2.CanaryReading(
                artifact_sha256=assignment.measure.canary.model.sha256, median_us=canary_us, output_digest="a" * 64
            )
            envelope.measurement.canary_before.CopyFrom(reading)
            envelope.measurement.canary_after.CopyFrom(reading)
        return self.put(envelope.SerializeToString())

    def put(self, envelope: bytes) -> control_pb2.PutResultResponse:
        """Hand in an envelope as it is."""
        digest = hashlib.sha256(envelope).hexdigest()
        return self.link.put_result(
            control_pb2.PutResultRequest(agent=self.me, envelope=envelope, envelope_sha256=digest)
        )

    def fetch(self, sha256: str) -> bytes:
        """An artifact; raises JobFailedError where it is refused."""
        return b"".join(data for _, data in self.link.fetch(sha256, 0, StopToken()))


def capabilities(said: DeviceIdentity, core_masks: tuple[str, ...] = ()) -> control_pb2.Capabilities:
    """What an agent sends of itself."""
    return control_pb2.Capabilities(
        identity=measurement_pb2.DeviceIdentity(
            board_model=said.board_model,
            device_class=CLASSES[said.device_class],
            runtime=said.runtime,
            runtime_versions=[
                measurement_pb2.ComponentVersion(component=component, version=version)
                for component, version in said.runtime_versions
            ],
            clocks_profile=said.clocks_profile,
            core_mask=said.core_mask,
        ),
        dtypes=[measurement_pb2.DTYPE_FP32],
        core_masks=list(core_masks),
        max_model_bytes=1 << 30,
    )


def code_of(caught: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    """Name of the status a call ended with."""
    return str(caught.value.code().name)
