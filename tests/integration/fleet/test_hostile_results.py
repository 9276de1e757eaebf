"""Results that lie about their lease, their device or their size, sent to the agents' endpoint itself."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from hilnas.v1 import control_pb2, control_pb2_grpc
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import DeviceClass, DeviceIdentity, Dtype, HardwareKey, Validity, ValidityFlag
from nas_engine.domain.metrics import LATENCY_US
from server.artifacts.files import FileByteStore
from server.candidates.states import CandidateState
from server.core.paging import PageRequest
from server.core.rpc.wire_bounds import MAX_ENVELOPE_BYTES
from server.fleet.device import DeviceState
from server.fleet.rpc_server import start_rpc_server
from server.jobs.job import Job
from server.jobs.states import JobState
from server.measuring.measurement import MeasurementKind, MeasurementQuery
from tests.support.hostile_results import bomb, envelope, services_of
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import IDENTITY, PlayedDevice, World, measurement

ACCEPTED, DUPLICATE, SUPERSEDED, REJECTED = (
    control_pb2.RESULT_STATUS_ACCEPTED,
    control_pb2.RESULT_STATUS_DUPLICATE,
    control_pb2.RESULT_STATUS_SUPERSEDED,
    control_pb2.RESULT_STATUS_REJECTED,
)
EVERYTHING = MeasurementQuery(kinds=(), include_superseded=True, include_suspect=True)
SIMULATED = replace(IDENTITY, device_class=DeviceClass.SIMULATED, runtime="fake", runtime_versions=())


class Endpoint:
    """A service with one queued measuring job, and its endpoint on a socket."""

    def __init__(self, database: TestDatabase, folder: Path) -> None:
        self.world = World(database, FileByteStore(folder / "artifacts"))
        self.server = start_rpc_server(services_of(self.world), "127.0.0.1:0", num_threads=4)
        options = [("grpc.max_send_message_length", 1 << 30)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.server.port}", options=options)
        self.stub = control_pb2_grpc.AgentControlStub(self.channel)

    def leased(self, device: PlayedDevice) -> Job:
        """The job of a new search, leased to a device."""
        self.world.search(budget={"num_candidates": 1}, algorithm={"kind": "random", "batch_size": 1})
        self.world.worker.run()
        job = device.take()
        assert job is not None
        return job

    def put(self, device: PlayedDevice, sent: control_pb2.ResultEnvelope) -> control_pb2.PutResultResponse:
        """Hand a result in as a device."""
        data = sent.SerializeToString()
        request = control_pb2.PutResultRequest(
            agent=control_pb2.AgentIdentity(agent_id=device.id, instance_epoch=1),
            envelope=data,
            envelope_sha256=hashlib.sha256(data).hexdigest(),
        )
        answer: control_pb2.PutResultResponse = self.stub.PutResult(
            request, metadata=(("authorization", f"Bearer {device.credential}"),), timeout=60.0
        )
        return answer

    def close(self) -> None:
        self.channel.close()
        self.server.stop(0.0)


@pytest.fixture
def endpoint(database: TestDatabase, tmp_path: Path) -> Iterator[Endpoint]:
    opened = Endpoint(database, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def device(endpoint: Endpoint) -> PlayedDevice:
    return endpoint.world.enrol("mine")


def key(identity: DeviceIdentity) -> str:
    return HardwareKey(identity=identity, dtype=Dtype.FP32).digest


def failure_of(endpoint: Endpoint, job: Job) -> FailureType | None:
    return endpoint.world.dispatch.get(job.id).failure_type


@pytest.mark.parametrize(
    "lease",
    [
        {"job_id": "job_00000000000000000000000000"},
        {"lease_id": "lease_00000000000000000000000000"},
        {"fence": 99},
        {"job_id": "", "lease_id": "", "fence": 0},
    ],
)
def test_a_result_without_a_lease_of_this_device_is_not_looked_into(
    endpoint: Endpoint, device: PlayedDevice, lease: dict[str, str | int]
) -> None:
    job = endpoint.leased(device)
    sent = envelope(job, measurement(100.0), **lease)
    sent.measurement.samples = b"not even compressed"
    answer = endpoint.put(device, sent)
    assert answer.status == REJECTED
    assert "samples" not in answer.reason
    assert endpoint.world.dispatch.get(job.id).state is JobState.LEASED
    assert endpoint.world.devices.get(device.id).num_failures_in_a_row == 0


def test_another_devices_lease_cannot_be_used_nor_spoiled(endpoint: Endpoint, device: PlayedDevice) -> None:
    other, job = endpoint.world.enrol("other"), endpoint.leased(device)
    for measured in (measurement(1.0), measurement(100.0)):
        assert endpoint.put(other, envelope(job, measured)).status == REJECTED
    broken = envelope(job, measurement(100.0))
    broken.measurement.samples = b"junk"
    assert endpoint.put(other, broken).status == REJECTED
    assert endpoint.world.latencies.count_measurements(EVERYTHING) == 0
    assert endpoint.put(device, envelope(job, measurement(100.0))).status == ACCEPTED


def test_another_devices_lease_cannot_raise_a_canary_alarm(endpoint: Endpoint, device: PlayedDevice) -> None:
    other, job = endpoint.world.enrol("other"), endpoint.leased(device)
    canary = {"artifact_sha256": "0" * 64, "median_us": 900.0, "ratio": 9.0}
    failure = control_pb2.Failure(type=control_pb2.ERROR_TYPE_DEVICE_DEGRADED, message="slow")
    failure.canary.CopyFrom(envelope(job, measurement(1.0)).measurement.canary_after)
    for name, value in canary.items():
        setattr(failure.canary, name, value)
    sent = envelope(job, measurement(100.0))
    sent.failure.CopyFrom(failure)
    assert endpoint.put(other, sent).status == REJECTED
    assert endpoint.world.devices.get(other.id).state is DeviceState.ACTIVE
    assert endpoint.world.latencies.page_of_canaries(other.id, PageRequest(10)).items == ()
    assert endpoint.put(device, sent).status == ACCEPTED
    assert len(endpoint.world.latencies.page_of_canaries(device.id, PageRequest(10)).items) == 1


def test_an_oversized_result_is_refused_before_it_is_read(endpoint: Endpoint, device: PlayedDevice) -> None:
    job = endpoint.leased(device)
    sent = envelope(job, measurement(100.0))
    sent.measurement.environment_json = "x" * (MAX_ENVELOPE_BYTES + 1)
    answer = endpoint.put(device, sent)
    assert (answer.status, str(MAX_ENVELOPE_BYTES) in answer.reason) == (REJECTED, True)
    assert endpoint.world.dispatch.get(job.id).state is JobState.LEASED


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"samples": bomb(8_000_000)}, "expand beyond"),
        ({"samples": bomb(20_001)}, "at most"),
        ({"samples": b""}, "samples"),
        ({"environment_json": "[" * 300_000}, "characters"),
        ({"environment_json": '{"kernel": "6.1", "kernel": "5.10"}'}, "names 'kernel' twice"),
        ({"environment_json": '{"a": [{"b": 1, "\\u0062": 2}]}'}, "names 'b' twice"),
        ({"load_us": float("nan")}, "finite"),
        ({"init_us": float("inf")}, "finite"),
        ({"first_run_us": -1.0}, "finite"),
        ({"batch": 0}, "batch"),
        ({"dtype": 99}, "dtype"),
    ],
)
def test_content_that_cannot_be_a_result_ends_the_attempt(
    endpoint: Endpoint, device: PlayedDevice, spoil: dict[str, object], words: str
) -> None:
    job = endpoint.leased(device)
    sent = envelope(job, measurement(100.0))
    for name, value in spoil.items():
        setattr(sent.measurement, name, value)
    answer = endpoint.put(device, sent)
    assert (answer.status, words in answer.reason) == (REJECTED, True), answer.reason
    assert endpoint.world.dispatch.get(job.id).state is JobState.QUEUED
    assert failure_of(endpoint, job) is FailureType.INVALID_RESULT
    assert endpoint.world.latencies.count_measurements(EVERYTHING) == 0


def test_many_flags_are_refused(endpoint: Endpoint, device: PlayedDevice) -> None:
    job = endpoint.leased(device)
    flags = (ValidityFlag(Validity.NOISY, "noise"),) * 101
    assert endpoint.put(device, envelope(job, measurement(100.0, flags))).status == REJECTED


def test_a_simulated_device_cannot_file_numbers_under_a_boards_key(endpoint: Endpoint) -> None:
    world = endpoint.world
    simulated = world.enrol("simulated", SIMULATED)
    board = replace(IDENTITY, device_class=DeviceClass.BOARD, board_model="RK3588")
    search = world.search(budget={"num_candidates": 1}, algorithm={"kind": "random", "batch_size": 1})
    world.worker.run()
    job = simulated.take()
    assert job is not None
    answer = endpoint.put(simulated, envelope(job, measurement(1.0, identity=board)))
    assert (answer.status, "not used" in answer.reason) == (ACCEPTED, True)
    assert failure_of(endpoint, job) is FailureType.INVALID_RESULT
    assert world.states(search) == [CandidateState.EVALUATING]
    assert world.latencies.count_measurements(replace(EVERYTHING, hardware_key=key(board))) == 0
    assert key(board) not in {profile.hardware_key for profile in world.latencies.hardware_keys()}
    (evidence,) = world.latencies.page_of_measurements(EVERYTHING, PageRequest(10)).items
    assert evidence.kind is MeasurementKind.SIMULATED
    assert (evidence.hardware_key, evidence.suspect) == (key(SIMULATED), True)


def test_evidence_is_never_reused(endpoint: Endpoint, device: PlayedDevice) -> None:
    job = endpoint.leased(device)
    other = replace(IDENTITY, clocks_profile="pinned-max")
    endpoint.put(device, envelope(job, measurement(1.0, identity=other)))
    second = endpoint.world.search(budget={"num_candidates": 1}, algorithm={"kind": "random", "batch_size": 1})
    endpoint.world.worker.run()
    assert endpoint.world.candidates(second)[0].value(LATENCY_US) is None


def test_a_device_that_became_something_else_meanwhile_files_nothing_under_its_new_key(
    endpoint: Endpoint, device: PlayedDevice
) -> None:
    job = endpoint.leased(device)
    new = replace(IDENTITY, runtime_versions=(("onnxruntime", "1.21"),))
    device.sync(free_slots=0, capabilities=replace(device.device.capabilities, identity=new))
    endpoint.put(device, envelope(job, measurement(1.0, identity=new)))
    assert failure_of(endpoint, job) is FailureType.INVALID_RESULT
    assert endpoint.world.latencies.count_measurements(MeasurementQuery(hardware_key=key(new))) == 0


def test_a_result_from_before_an_upgrade_counts_as_what_the_job_was_leased_for(
    endpoint: Endpoint, device: PlayedDevice
) -> None:
    job = endpoint.leased(device)
    new = replace(IDENTITY, runtime_versions=(("onnxruntime", "1.21"),))
    device.sync(free_slots=0, capabilities=replace(device.device.capabilities, identity=new))
    assert endpoint.put(device, envelope(job, measurement(100.0))).status == ACCEPTED
    assert endpoint.world.dispatch.get(job.id).state is JobState.DONE
    assert endpoint.world.latencies.count_measurements(MeasurementQuery(hardware_key=key(IDENTITY))) == 1


def test_a_result_is_taken_once_however_often_it_is_sent(endpoint: Endpoint, device: PlayedDevice) -> None:
    job = endpoint.leased(device)
    sent = envelope(job, measurement(100.0))
    assert [endpoint.put(device, sent).status for _ in range(3)] == [ACCEPTED, DUPLICATE, DUPLICATE]
    assert endpoint.put(device, envelope(job, measurement(50.0))).status == REJECTED
    assert endpoint.world.latencies.count_measurements(EVERYTHING) == 1


def test_a_result_replayed_under_the_next_lease_is_refused(endpoint: Endpoint, device: PlayedDevice) -> None:
    job = endpoint.leased(device)
    old = envelope(job, measurement(1.0))
    endpoint.world.database.kill_lease(job.id)
    endpoint.world.dispatch.sweep()
    endpoint.world.database.skip_backoff()
    again = device.take()
    assert again is not None
    assert endpoint.put(device, envelope(again, measurement(1.0), lease_id=job.lease_id or "")).status == REJECTED
    assert endpoint.put(device, old).status == SUPERSEDED
    assert endpoint.put(device, envelope(again, measurement(100.0))).status == ACCEPTED
    assert endpoint.world.latencies.count_measurements(MeasurementQuery()) == 1


def test_bombs_are_taken_in_little_memory(migrated_sqlite: Path, tmp_path: Path) -> None:
    shutil.copy(migrated_sqlite, tmp_path / "hilnas.sqlite3")
    command = [sys.executable, "-m", "tests.support.hostile_results", tmp_path / "hilnas.sqlite3", tmp_path / "files"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120.0, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    without_lease, with_lease, largest = done.stdout.splitlines()
    assert "is not one of this device" in without_lease
    assert with_lease.startswith("rejected: ")
    assert "expand beyond" in with_lease
    assert largest.startswith("accepted: ")
