"""Between wire and values: both sides map every enum, and a measurement survives the way from agent to server."""

from __future__ import annotations

import inspect
import io
import os
import struct
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from device_agent.child.messages import MAX_FRAME_BYTES, read_frame, request_from_proto, request_to_proto, write_frame
from device_agent.failures import JobFailedError
from device_agent.jobs import LeaseKey, Outcome
from device_agent.measuring import messages
from device_agent.measuring.canary import Canary
from device_agent.measuring.device import MeasuringDevice, MeasuringSettings
from device_agent.measuring.procedure import MeasureRequest, Phase
from device_agent.runtime.base import SessionSettings
from device_agent.runtime.select import RuntimeName, RuntimeOptions
from device_agent.server_link import wire
from hilnas.v1 import control_pb2, measurement_pb2
from hilnas.v1.measuring_process_pb2 import ProcessEvent
from hilnas.wire import DTYPES, VALIDITIES, canary_from_proto, measurement_from_proto, measurement_to_proto
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import (
    BlockStatus,
    CanaryReading,
    DeviceClass,
    DeviceIdentity,
    Dtype,
    EnvironmentRecord,
    HardwareKey,
    InvalidMeasurementError,
    Measurement,
    MeasurementProfile,
    SampleBlock,
    Validity,
    ValidityFlag,
)
from server.core import errors
from server.core.errors import InvalidValueError
from server.core.rpc.errors import STATUS, status_of
from server.fleet import converters
from server.jobs.converters import PHASES, failure_from_proto
from server.jobs.results import ResultStatus
from server.jobs.states import JobPhase

IDENTITY = DeviceIdentity(
    board_model="Radxa ROCK 5B",
    device_class=DeviceClass.BOARD,
    runtime="rknnlite",
    runtime_versions=(("librknnrt", "2.3.2"), ("rknnlite", "2.5.0")),
    clocks_profile="pinned-max",
    core_mask="0x1",
)
CANARY = CanaryReading(artifact_sha256="cd" * 32, median_us=2000.5, ratio=1.01, output_digest="ef" * 32)
QUICK = MeasurementProfile.named("quick")
MEASUREMENT = Measurement(
    blocks=(
        SampleBlock((1_000_000, 1_100_000), (600_000, 610_000), num_involuntary_switches=1, cpu_time_ns=5),
        SampleBlock((9_000_000,), (1,), BlockStatus.DISCARDED),
    ),
    flags=(ValidityFlag(Validity.DRIFT, "by 3 %"),),
    environment=EnvironmentRecord(agent_version="1", protocol_version=1, kernel="6.1"),
    hardware_key=HardwareKey(identity=IDENTITY, dtype=Dtype.W8A8, batch=2),
    load_us=1.5,
    init_us=2.5,
    first_run_us=3.5,
    canary_before=CANARY,
    canary_after=replace(CANARY, ratio=None),
    npu_time_source="rknn_runtime.get_run_perf",
    output_digest="01" * 32,
)


def test_a_measurement_survives_the_wire() -> None:
    data = measurement_to_proto(MEASUREMENT).SerializeToString()
    assert measurement_from_proto(measurement_pb2.Measurement.FromString(data), QUICK.max_blocks_in_all) == MEASUREMENT


def through_a_pipe(message: ProcessEvent) -> ProcessEvent:
    stream = io.BytesIO()
    write_frame(stream, message)
    stream.seek(0)
    event = read_frame(stream, ProcessEvent)
    assert event is not None
    return event


def test_a_measurement_and_a_request_survive_the_pipe() -> None:
    event = through_a_pipe(ProcessEvent(measurement=measurement_to_proto(MEASUREMENT)))
    assert measurement_from_proto(event.measurement) == MEASUREMENT
    request = MeasureRequest(
        model=Path(os.fsdecode(b"/models/m\xff")),  # file names are bytes, not always text
        settings=SessionSettings(format="rknn", core_mask="0x1", num_threads=3, input_seed=2**40, batch=2),
        profile=MeasurementProfile.named("audit"),
        dtype=Dtype.FP16,
        canary=Canary(path=Path("/g"), sha256="ab", format="rknn", baseline_us=5.0),
        cpu_operators=("TopK",),
    )
    assert request_from_proto(request_to_proto(request)) == request
    without = replace(request, canary=None, cpu_operators=())
    assert request_from_proto(request_to_proto(without)) == without
    failure = messages.failure_to_proto(JobFailedError(FailureType.DEVICE_DEGRADED, "off \udcff", CANARY))
    error = messages.failure_from_proto(through_a_pipe(ProcessEvent(failure=failure)).failure)
    assert (error.type, error.message, error.canary) == (FailureType.DEVICE_DEGRADED, "off", CANARY)


def test_frames_that_are_none_are_refused_and_a_cut_one_is_the_end() -> None:
    with pytest.raises(ValueError, match="at most"):
        read_frame(io.BytesIO(struct.pack(">I", MAX_FRAME_BYTES + 1)), ProcessEvent)
    with pytest.raises(ValueError, match="no ProcessEvent"):
        read_frame(io.BytesIO(struct.pack(">I", 2) + b"\xff\xff"), ProcessEvent)
    assert read_frame(io.BytesIO(struct.pack(">I", 9) + b"\x08"), ProcessEvent) is None


@pytest.mark.parametrize(
    "spoil",
    [
        {"samples": b"junk"},
        {"environment_json": "[]"},
        {"environment_json": "{"},
        {"batch": 0},
        {"load_us": float("nan")},
        {"dtype": 99},
    ],
)
def test_malformed_measurements_are_refused(spoil: dict[str, object]) -> None:
    message = measurement_to_proto(MEASUREMENT)
    for name, value in spoil.items():
        setattr(message, name, value)
    with pytest.raises(InvalidMeasurementError):
        measurement_from_proto(message, QUICK.max_blocks_in_all)


OF_AGENTS = [t for t in FailureType if f"ERROR_TYPE_{t.name}" in control_pb2.ErrorType.DESCRIPTOR.values_by_name]


@pytest.mark.parametrize("type", OF_AGENTS)
def test_every_failure_of_an_agent_reaches_the_service_as_itself(type: FailureType) -> None:
    outcome = Outcome(failure=type, message="why", phase=Phase.WARMUP, canary=CANARY)
    envelope = wire.envelope_to_proto(LeaseKey("job_1", 2, "lease_1", 3), outcome)
    failure = failure_from_proto(envelope.failure.type, envelope.failure.message)
    assert failure.type.value == type.value
    assert envelope.failure.phase == control_pb2.PHASE_WARMUP
    assert canary_from_proto(envelope.failure.canary) == CANARY


def test_a_failure_type_of_a_newer_agent_is_kept_as_text() -> None:
    failure = failure_from_proto(999, "something new")
    assert failure.type.value == FailureType.AGENT_FAULT.value
    assert "999" in failure.message


def test_every_enum_is_mapped_on_both_sides() -> None:
    for phase in Phase:
        number = control_pb2.Phase.Value(f"PHASE_{phase.name}")
        assert (messages.PHASES[number], PHASES[number]) == (phase, JobPhase[phase.name])
    for validity in Validity:
        number = measurement_pb2.Validity.Value(f"VALIDITY_{validity.name}")
        assert VALIDITIES.get(number) is (None if validity is Validity.VALID else validity)
    for dtype in Dtype:
        number = measurement_pb2.Dtype.Value(f"DTYPE_{dtype.name}")
        assert DTYPES[number] is dtype
    for status in ResultStatus:
        assert control_pb2.ResultStatus.Value(converters.RESULT_STATUSES[status])
    for name in (*converters.SESSION_STATES.values(),):
        assert control_pb2.SessionState.Value(name)
    for order, name in converters.LEASE_ORDERS.items():
        assert wire.lease_order(control_pb2.LeaseOrder.Value(name)).name == order.name


def test_capabilities_survive_the_wire(tmp_path: Path) -> None:
    settings = MeasuringSettings(runtime=RuntimeName.FAKE, options=RuntimeOptions(), lock_path=tmp_path / "lock")
    device = MeasuringDevice(settings)
    message = wire.capabilities_to_proto(device, max_model_bytes=7, can_pin_clocks=True, num_cpus=3)
    capabilities = converters.capabilities_from_proto(message)
    assert capabilities.identity == device.identity()
    assert capabilities.dtypes == tuple(Dtype)
    assert capabilities.core_masks == device.core_labels()
    assert (capabilities.max_model_bytes, capabilities.can_pin_clocks, capabilities.num_cpus) == (7, True, 3)


@pytest.mark.parametrize("name", ["", "x" * 101, "tab\there"])
def test_names_that_are_none_cannot_enrol(name: str) -> None:
    request = control_pb2.EnrollRequest(name=name, device_type="t")
    with pytest.raises(InvalidValueError, match="printable"):
        converters.enrolment_from_proto(request)


def test_an_assignment_of_unknown_work_becomes_a_job_that_says_so() -> None:
    job = wire.job_from_proto(control_pb2.Assignment(lease=control_pb2.LeaseRef(job_id="job_1", lease_id="l")))
    assert job.order is None
    assert "upgrade" in job.complaint
    measure = control_pb2.MeasureJob(profile="lightning", model=control_pb2.ArtifactRef(sha256="ab" * 32))
    assert "quick, standard or audit" in wire.job_from_proto(control_pb2.Assignment(measure=measure)).complaint


def test_every_error_of_the_service_has_a_status() -> None:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.ServiceError):
            assert kind in STATUS, f"{kind.__name__} has no status"
    assert status_of(KeyError("x")) is grpc.StatusCode.INTERNAL
