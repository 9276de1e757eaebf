"""Between the agent's values and the messages of the wire. Every enum is mapped once, by name."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from device_agent.failures import FailureType, JobFailedError
from device_agent.jobs import CanaryOrder, ClassifyOrder, LeasedJob, LeaseKey, MeasureOrder, Outcome
from device_agent.measuring.procedure import Phase
from device_agent.measuring.setup import DeviceBench
from device_agent.server_link.artifacts import ArtifactRef
from hilnas.v1 import control_pb2, measurement_pb2
from nas_engine.domain.classification import Classification, compress_predictions
from nas_engine.domain.json_value import canonical_json
from nas_engine.domain.measurement import (
    CanaryReading,
    DeviceClass,
    DeviceIdentity,
    Dtype,
    InvalidMeasurementError,
    Measurement,
    MeasurementProfile,
    Validity,
    compress_blocks,
)

PHASES: Mapping[Phase, str] = {p: f"PHASE_{p.name}" for p in Phase}
ERRORS: Mapping[FailureType, str] = {f: f"ERROR_TYPE_{f.name}" for f in FailureType}
VALIDITIES: Mapping[Validity, str] = {v: f"VALIDITY_{v.name}" for v in Validity}
DTYPES: Mapping[Dtype, str] = {d: f"DTYPE_{d.name}" for d in Dtype}
DEVICE_CLASSES: Mapping[DeviceClass, str] = {c: f"DEVICE_CLASS_{c.name}" for c in DeviceClass}


class LeaseOrder(Enum):
    """What the server says to a running lease."""

    CONTINUE = control_pb2.LEASE_ORDER_CONTINUE
    CANCEL = control_pb2.LEASE_ORDER_CANCEL
    LOST = control_pb2.LEASE_ORDER_LOST
    DRAIN = control_pb2.LEASE_ORDER_DRAIN


def lease_order(value: int) -> LeaseOrder:
    """The order; one this version does not know means going on."""
    return LeaseOrder(value) if value in {o.value for o in LeaseOrder} else LeaseOrder.CONTINUE


def lease_to_proto(lease: LeaseKey) -> control_pb2.LeaseRef:
    """A lease's name."""
    return control_pb2.LeaseRef(job_id=lease.job_id, attempt=lease.attempt, lease_id=lease.lease_id, fence=lease.fence)


def report_to_proto(job: LeasedJob) -> control_pb2.LeaseReport:
    """What is being done with a lease."""
    return control_pb2.LeaseReport(lease=lease_to_proto(job.lease), phase=PHASES[job.phase])


def identity_to_proto(identity: DeviceIdentity) -> measurement_pb2.DeviceIdentity:
    """The device's part of a hardware key."""
    return measurement_pb2.DeviceIdentity(
        board_model=identity.board_model,
        device_class=DEVICE_CLASSES[identity.device_class],
        runtime=identity.runtime,
        runtime_versions=[
            measurement_pb2.ComponentVersion(component=n, version=v) for n, v in identity.runtime_versions
        ],
        clocks_profile=identity.clocks_profile,
        core_mask=identity.core_mask,
    )


def capabilities_to_proto(
    device: DeviceBench, *, max_model_bytes: int, can_pin_clocks: bool, num_cpus: int
) -> control_pb2.Capabilities:
    """What this device can do."""
    facts, board = device.runtime.facts, device.board
    return control_pb2.Capabilities(
        identity=identity_to_proto(device.identity()),
        dtypes=[DTYPES[d] for d in facts.dtypes],
        model_formats=facts.model_formats,
        max_model_bytes=max_model_bytes,
        memory_bytes=board.memory_bytes() or 0,
        num_cpus=num_cpus,
        can_pin_clocks=can_pin_clocks,
        has_npu_time=facts.has_npu_time,
        has_npu_load=board.state().npu_load_percent is not None,
        timer_resolution_ns=device.environment().timer_resolution_ns or 0,
        core_masks=device.core_labels(),
        features=["canary", *(["classify"] if facts.executes else [])],
    )


def job_from_proto(assignment: control_pb2.Assignment) -> LeasedJob:
    """A leased job; work that is unknown or malformed becomes a job without an order, which fails with the reason."""
    lease = assignment.lease
    order: MeasureOrder | ClassifyOrder | None = None
    complaint = ""
    try:
        order = _order_from_proto(assignment)
    except (JobFailedError, InvalidMeasurementError, ValueError) as error:
        complaint = str(error)
    return LeasedJob(
        lease=LeaseKey(lease.job_id, lease.attempt, lease.lease_id, lease.fence),
        order=order,
        complaint=complaint,
        ttl_s=assignment.ttl_s,
        timeout_s=assignment.timeout_s,
    )


def _order_from_proto(assignment: control_pb2.Assignment) -> MeasureOrder | ClassifyOrder:
    match assignment.WhichOneof("work"):
        case "measure":
            return _measure_order(assignment.measure)
        case "classify":
            return _classify_order(assignment.classify)
        case _:
            raise ValueError("this agent does not know that kind of work: upgrade it")


def _classify_order(classify: control_pb2.ClassifyJob) -> ClassifyOrder:
    if classify.batch < 1 or classify.num_images < 1:
        raise ValueError(f"{classify.num_images} images in batches of {classify.batch}: both must be at least 1")
    return ClassifyOrder(
        model=_artifact(classify.model),
        images=_artifact(classify.images),
        num_images=classify.num_images,
        dtype=_dtype(classify.dtype),
        batch=classify.batch,
        num_threads=classify.num_threads,
        core_mask=classify.core_mask,
    )


def _measure_order(measure: control_pb2.MeasureJob) -> MeasureOrder:
    return MeasureOrder(
        model=_artifact(measure.model),
        profile=MeasurementProfile.named(measure.profile),
        dtype=_dtype(measure.dtype),
        batch=measure.batch,
        num_threads=measure.num_threads,
        core_mask=measure.core_mask,
        input_seed=measure.input_seed,
        canary=_canary_order(measure.canary) if measure.HasField("canary") else None,
        cpu_operators=tuple(measure.cpu_operators),
    )


def _canary_order(canary: control_pb2.CanarySpec) -> CanaryOrder:
    return CanaryOrder(
        model=_artifact(canary.model),
        baseline_us=canary.baseline_us if canary.HasField("baseline_us") else None,
        output_digest=canary.output_digest,
        tolerance=canary.tolerance if canary.HasField("tolerance") else None,
    )


def _artifact(ref: control_pb2.ArtifactRef) -> ArtifactRef:
    return ArtifactRef(ref.sha256, ref.size_bytes, ref.format)


def _dtype(value: int) -> Dtype:
    for dtype, name in DTYPES.items():
        if measurement_pb2.Dtype.Value(name) == value:
            return dtype
    raise ValueError(f"dtype {value} is not known to this agent")


def envelope_to_proto(lease: LeaseKey, outcome: Outcome) -> control_pb2.ResultEnvelope:
    """A result as it is spooled and sent."""
    envelope = control_pb2.ResultEnvelope(
        lease=lease_to_proto(lease), fetch_s=outcome.fetch_s, device_s=outcome.device_s, total_s=outcome.total_s
    )
    if outcome.measurement is not None:
        envelope.measurement.CopyFrom(measurement_to_proto(outcome.measurement))
    elif outcome.classification is not None:
        envelope.classification.CopyFrom(classification_to_proto(outcome.classification))
    else:
        type = outcome.failure or FailureType.AGENT_FAULT
        envelope.failure.CopyFrom(
            control_pb2.Failure(type=ERRORS[type], message=outcome.message, phase=PHASES[outcome.phase])
        )
        if outcome.canary is not None:
            envelope.failure.canary.CopyFrom(_canary_to_proto(outcome.canary))
    return envelope


def classification_to_proto(classification: Classification) -> measurement_pb2.Classification:
    """Answers to an image set; right ones are counted by the server."""
    key = classification.hardware_key
    return measurement_pb2.Classification(
        identity=identity_to_proto(key.identity),
        dtype=DTYPES[key.dtype],
        batch=key.batch,
        images_sha256=classification.images_sha256,
        num_images=len(classification.predictions),
        num_classes=classification.num_classes,
        predictions=compress_predictions(classification.predictions),
        environment_json=canonical_json(classification.environment.to_json()),
    )


def measurement_to_proto(measurement: Measurement) -> measurement_pb2.Measurement:
    """A measurement; statistics are left to the server."""
    key = measurement.hardware_key
    message = measurement_pb2.Measurement(
        identity=identity_to_proto(key.identity),
        dtype=DTYPES[key.dtype],
        batch=key.batch,
        samples=compress_blocks(measurement.blocks),
        flags=[
            measurement_pb2.ValidityFlag(validity=VALIDITIES[f.validity], reason=f.reason) for f in measurement.flags
        ],
        environment_json=canonical_json(measurement.environment.to_json()),
        load_us=measurement.load_us,
        init_us=measurement.init_us,
        first_run_us=measurement.first_run_us,
        npu_time_source=measurement.npu_time_source or "",
        output_digest=measurement.output_digest or "",
    )
    if measurement.canary_before is not None:
        message.canary_before.CopyFrom(_canary_to_proto(measurement.canary_before))
    if measurement.canary_after is not None:
        message.canary_after.CopyFrom(_canary_to_proto(measurement.canary_after))
    return message


def _canary_to_proto(reading: CanaryReading) -> measurement_pb2.CanaryReading:
    return measurement_pb2.CanaryReading(
        artifact_sha256=reading.artifact_sha256,
        median_us=reading.median_us,
        ratio=reading.ratio,
        output_digest=reading.output_digest or "",
    )
