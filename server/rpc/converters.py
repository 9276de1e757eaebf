"""Between the wire's messages and the service's values. Every enum is mapped once, by name, and inverted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from hilnas.v1 import control_pb2, measurement_pb2
from nas_engine.domain.measurement import (
    CanaryReading,
    DeviceClass,
    DeviceIdentity,
    Dtype,
    EnvironmentRecord,
    HardwareKey,
    InvalidMeasurementError,
    Measurement,
    Validity,
    ValidityFlag,
    decompress_blocks,
)
from server.service.agents import AgentReport, ReturnedLease, RunningLease, SessionState
from server.service.canaries import CanaryPlan
from server.service.dispatch import LeaseOrder, LeaseVerdict
from server.service.errors import InvalidValueError
from server.service.failures import Failure, FailureType
from server.service.results import ResultStatus
from server.service.states import JobPhase
from server.service.values.artifact import Artifact
from server.service.values.device import DeviceCapabilities, Enrolment
from server.service.values.job import Job, LeaseRef
from server.service.values.payloads import MeasurePayload

MAX_MESSAGE_CHARACTERS = 1000
E = TypeVar("E", bound=Enum)

DTYPES: Mapping[int, Dtype] = {measurement_pb2.Dtype.Value(f"DTYPE_{d.name}"): d for d in Dtype}
DEVICE_CLASSES: Mapping[int, DeviceClass] = {
    measurement_pb2.DeviceClass.Value(f"DEVICE_CLASS_{c.name}"): c for c in DeviceClass
}
VALIDITIES: Mapping[int, Validity] = {
    measurement_pb2.Validity.Value(f"VALIDITY_{v.name}"): v for v in Validity if v is not Validity.VALID
}
PHASES: Mapping[int, JobPhase] = {
    number: JobPhase[name.removeprefix("PHASE_")] for name, number in control_pb2.Phase.items() if number
}
FAILURES: Mapping[int, FailureType] = {
    number: FailureType[name.removeprefix("ERROR_TYPE_")] for name, number in control_pb2.ErrorType.items() if number
}
SESSION_STATES: Mapping[SessionState, str] = {s: f"SESSION_STATE_{s.name}" for s in SessionState}
LEASE_ORDERS: Mapping[LeaseOrder, str] = {o: f"LEASE_ORDER_{o.name}" for o in LeaseOrder}
RESULT_STATUSES: Mapping[ResultStatus, str] = {s: f"RESULT_STATUS_{s.name}" for s in ResultStatus}


def _known(table: Mapping[int, E], value: int, what: str) -> E:
    try:
        return table[value]
    except KeyError as error:
        raise InvalidValueError(f"{what} {value} is not known to this server: upgrade it first") from error


def lease_from_proto(lease: control_pb2.LeaseRef) -> LeaseRef:
    """A lease's name."""
    return LeaseRef(lease.job_id, lease.lease_id, lease.fence)


def running_from_proto(report: control_pb2.LeaseReport) -> RunningLease:
    """A lease the agent works on; a phase this server does not know is left out."""
    return RunningLease(lease=lease_from_proto(report.lease), phase=PHASES.get(report.phase))


def failure_from_proto(type: int, message: str) -> Failure:
    """A typed failure. A type from a newer agent counts as the agent's own fault, with its number in the message."""
    known = FAILURES.get(type)
    text = " ".join(message.split())[:MAX_MESSAGE_CHARACTERS]
    return Failure(known, text) if known else Failure(FailureType.AGENT_FAULT, f"unknown error type {type}: {text}")


def identity_from_proto(identity: measurement_pb2.DeviceIdentity) -> DeviceIdentity:
    """The device's part of a hardware key.

    Raises:
        InvalidMeasurementError, InvalidValueError: a part is missing or malformed.
    """
    return DeviceIdentity(
        board_model=identity.board_model,
        device_class=_known(DEVICE_CLASSES, identity.device_class, "device class"),
        runtime=identity.runtime,
        runtime_versions=tuple((v.component, v.version) for v in identity.runtime_versions),
        clocks_profile=identity.clocks_profile,
        core_mask=identity.core_mask,
    )


def capabilities_from_proto(capabilities: control_pb2.Capabilities) -> DeviceCapabilities:
    """What a device says it can do; dtypes this server does not know are left out."""
    return DeviceCapabilities(
        identity=identity_from_proto(capabilities.identity),
        dtypes=tuple(DTYPES[d] for d in capabilities.dtypes if d in DTYPES),
        model_formats=tuple(capabilities.model_formats),
        core_masks=tuple(capabilities.core_masks),
        max_model_bytes=capabilities.max_model_bytes,
        memory_bytes=capabilities.memory_bytes,
        num_cpus=capabilities.num_cpus,
        can_pin_clocks=capabilities.can_pin_clocks,
        has_npu_time=capabilities.has_npu_time,
        has_npu_load=capabilities.has_npu_load,
        timer_resolution_ns=capabilities.timer_resolution_ns,
        features=tuple(capabilities.features),
    )


def enrolment_from_proto(request: control_pb2.EnrollRequest) -> Enrolment:
    """What a device says when it enrols.

    Raises:
        InvalidValueError: name or device type are not 1 to 100 printable characters.
    """
    for what, value in (("name", request.name), ("device type", request.device_type)):
        if not value or len(value) > 100 or not value.isprintable():
            raise InvalidValueError(f"{what} {value[:120]!r}: give 1 to 100 printable characters")
    return Enrolment(
        name=request.name,
        device_type=request.device_type,
        capabilities=capabilities_from_proto(request.capabilities),
        labels=dict(request.labels),
        agent_version=request.agent.agent_version,
        boot_id=request.agent.boot_id,
        instance_epoch=request.agent.instance_epoch,
    )


def report_from_proto(request: control_pb2.SyncRequest) -> AgentReport:
    """An agent's whole state."""
    health = request.health
    return AgentReport(
        device_id=request.agent.agent_id,
        boot_id=request.agent.boot_id,
        instance_epoch=request.agent.instance_epoch,
        agent_version=request.agent.agent_version,
        capabilities=capabilities_from_proto(request.capabilities),
        labels=dict(request.labels),
        free_slots=max(0, min(request.free_slots, 1)),
        running=tuple(running_from_proto(r) for r in request.running),
        returned=tuple(
            ReturnedLease(lease=lease_from_proto(n.lease), failure=failure_from_proto(n.type, n.reason))
            for n in request.nacks
        ),
        num_spooled_results=request.num_spooled_results,
        draining=request.draining,
        leaving=request.leaving,
        degraded=health.degraded,
        degraded_reason=health.reason[:MAX_MESSAGE_CHARACTERS],
        canary_ratio=health.canary_ratio if health.HasField("canary_ratio") else None,
    )


def verdict_to_proto(verdict: LeaseVerdict) -> control_pb2.LeaseVerdict:
    """The answer to one running lease."""
    return control_pb2.LeaseVerdict(
        lease_id=verdict.lease.lease_id,
        order=LEASE_ORDERS[verdict.order],
        ttl_s=verdict.ttl_s,
        reason=verdict.reason,
    )


def assignment_to_proto(
    job: Job, payload: MeasurePayload, model: Artifact, canary: CanaryPlan | None, ttl_s: float
) -> control_pb2.Assignment:
    """A job for an agent."""
    measure = control_pb2.MeasureJob(
        model=control_pb2.ArtifactRef(
            sha256=payload.model_sha256, size_bytes=model.size_bytes, format=payload.model_format.value
        ),
        profile=payload.profile,
        dtype=f"DTYPE_{Dtype(payload.dtype).name}",
        batch=payload.batch,
        num_threads=payload.num_threads,
        core_mask=payload.core_mask,
        input_seed=payload.input_seed,
        cpu_operators=payload.cpu_operators,
    )
    if canary is not None:
        measure.canary.CopyFrom(canary_to_proto(canary))
    return control_pb2.Assignment(
        lease=lease_to_proto(job),
        ttl_s=ttl_s,
        timeout_s=payload.timeout_s,
        measure=measure,
    )


def lease_to_proto(job: Job) -> control_pb2.LeaseRef:
    """The name of a leased job's lease.

    Raises:
        InvalidValueError: nobody has leased it.
    """
    lease = job.lease
    if lease is None:
        raise InvalidValueError(f"job {job.id} is not leased: it cannot be assigned")
    return control_pb2.LeaseRef(
        job_id=lease.job_id, attempt=job.attempt, lease_id=lease.lease_id, fence=lease.lease_epoch
    )


def dtype_from_proto(dtype: int) -> Dtype:
    """Arithmetic of a model. Raises InvalidValueError: a newer agent's."""
    return _known(DTYPES, dtype, "dtype")


def canary_to_proto(plan: CanaryPlan) -> control_pb2.CanarySpec:
    """A golden model to run."""
    return control_pb2.CanarySpec(
        model=control_pb2.ArtifactRef(
            sha256=plan.model.sha256, size_bytes=plan.model.size_bytes, format=plan.model.format.value
        ),
        baseline_us=plan.baseline_us,
        output_digest=plan.output_digest,
        tolerance=plan.tolerance,
    )


def environment_from_proto(environment_json: str) -> EnvironmentRecord:
    """An environment record, checked. Raises InvalidMeasurementError: it is no JSON object, or malformed."""
    try:
        environment = json.loads(environment_json)
    except ValueError as error:
        raise InvalidMeasurementError(f"environment record is not JSON: {error}") from error
    if not isinstance(environment, dict):
        raise InvalidMeasurementError("environment record is not an object")
    return EnvironmentRecord.from_json(environment)


def measurement_from_proto(message: measurement_pb2.Measurement) -> Measurement:
    """A measurement, checked.

    Raises:
        InvalidMeasurementError, InvalidValueError: samples, record or key are malformed.
    """
    blocks = decompress_blocks(message.samples)
    if not blocks:
        raise InvalidMeasurementError("a measurement without samples")
    return Measurement(
        blocks=blocks,
        flags=tuple(
            ValidityFlag(_known(VALIDITIES, f.validity, "validity"), f.reason[:MAX_MESSAGE_CHARACTERS])
            for f in message.flags
        ),
        environment=environment_from_proto(message.environment_json),
        hardware_key=HardwareKey(
            identity=identity_from_proto(message.identity),
            dtype=_known(DTYPES, message.dtype, "dtype"),
            batch=message.batch,
        ),
        load_us=message.load_us,
        init_us=message.init_us,
        first_run_us=message.first_run_us,
        canary_before=canary_from_proto(message.canary_before) if message.HasField("canary_before") else None,
        canary_after=canary_from_proto(message.canary_after) if message.HasField("canary_after") else None,
        npu_time_source=message.npu_time_source or None,
        output_digest=message.output_digest or None,
    )


def canary_from_proto(reading: measurement_pb2.CanaryReading) -> CanaryReading:
    """A run of the golden model."""
    return CanaryReading(
        artifact_sha256=reading.artifact_sha256,
        median_us=reading.median_us,
        ratio=reading.ratio if reading.HasField("ratio") else None,
        output_digest=reading.output_digest or None,
    )
