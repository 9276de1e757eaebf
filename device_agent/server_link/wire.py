"""Leases, orders and results as messages to and from the server; what was measured is `hilnas.wire`'s part."""

from __future__ import annotations

import json

from device_agent.failures import JobFailedError
from device_agent.jobs import CanaryOrder, ClassifyOrder, LeasedJob, LeaseKey, MeasureOrder, Outcome
from device_agent.measuring.device import MeasuringDevice
from device_agent.measuring.messages import failure_to_proto
from device_agent.runtime.base import LayerTimer
from device_agent.runtime.settings_schema import settings_schema
from device_agent.server_link.artifacts import ArtifactRef
from hilnas.v1 import control_pb2
from hilnas.wire import (
    DTYPES,
    classification_to_proto,
    identity_to_proto,
    known,
    measurement_to_proto,
    ranges_from_proto,
)
from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from nas_engine.domain.measurement import InvalidMeasurementError, MeasurementProfile
from nas_engine.domain.plugins.declarations import MAX_SCHEMA_CHARACTERS
from nas_engine.domain.text import one_line


def lease_order(value: int) -> LeaseOrder:
    """Read an order; one this version does not know means going on."""
    for order in LeaseOrder:
        if control_pb2.LeaseOrder.Value(f"LEASE_ORDER_{order.name}") == value:
            return order
    return LeaseOrder.CONTINUE


def lease_to_proto(lease: LeaseKey) -> control_pb2.LeaseRef:
    """Write the name of a lease."""
    return control_pb2.LeaseRef(job_id=lease.job_id, attempt=lease.attempt, lease_id=lease.lease_id, fence=lease.fence)


def report_to_proto(job: LeasedJob) -> control_pb2.LeaseReport:
    """Write how far the job of a lease is."""
    return control_pb2.LeaseReport(lease=lease_to_proto(job.lease), phase=f"PHASE_{job.phase.name}")


def capabilities_to_proto(
    device: MeasuringDevice, *, max_model_bytes: int, can_pin_clocks: bool, num_cpus: int
) -> control_pb2.Capabilities:
    """Write what this device can do, as it enrols and syncs with it."""
    facts, board = device.runtime.facts, device.board
    schema = json.dumps(settings_schema(device.declared))
    return control_pb2.Capabilities(
        identity=identity_to_proto(device.identity()),
        dtypes=[f"DTYPE_{d.name}" for d in facts.dtypes],
        model_formats=facts.model_formats,
        max_model_bytes=max_model_bytes,
        memory_bytes=board.memory_bytes() or 0,
        num_cpus=num_cpus,
        can_pin_clocks=can_pin_clocks,
        has_npu_time=facts.has_npu_time,
        has_npu_load=board.state().npu_load_percent is not None,
        timer_resolution_ns=device.environment().timer_resolution_ns or 0,
        core_masks=device.core_labels(),
        features=[
            "canary",
            "known-device",
            "look-ahead",
            *(["classify"] if facts.executes else []),
            *(["layers"] if isinstance(device.runtime, LayerTimer) else []),
        ],
        runtime=control_pb2.RuntimeDescription(
            title=one_line(device.declared.declaration.title, 200),
            package=device.declared.provider.package,
            version=device.declared.provider.version,
            settings_schema_json=schema if len(schema) <= MAX_SCHEMA_CHARACTERS else "",
        ),
    )


def job_from_proto(assignment: control_pb2.Assignment) -> LeasedJob:
    """Read a leased job. An order that is unknown or malformed is left out, and the job fails with the reason."""
    lease = assignment.lease
    order: MeasureOrder | ClassifyOrder | None = None
    complaint = ""
    try:
        match assignment.WhichOneof("work"):
            case "measure":
                order = _measure_order(assignment.measure)
            case "classify":
                order = _classify_order(assignment.classify)
            case _:
                complaint = "this agent does not know that kind of work: upgrade it"
    except (JobFailedError, InvalidMeasurementError, ValueError) as error:
        complaint = str(error)
    return LeasedJob(
        lease=LeaseKey(lease.job_id, lease.attempt, lease.lease_id, lease.fence),
        order=order,
        complaint=complaint,
        ttl_s=assignment.ttl_s,
        timeout_s=assignment.timeout_s,
    )


def _classify_order(classify: control_pb2.ClassifyJob) -> ClassifyOrder:
    if classify.batch < 1 or classify.num_images < 1:
        raise ValueError(f"{classify.num_images} images in batches of {classify.batch}: both must be at least 1")
    return ClassifyOrder(
        model=_artifact(classify.model),
        images=_artifact(classify.images),
        num_images=classify.num_images,
        dtype=known(DTYPES, classify.dtype, "dtype"),
        batch=classify.batch,
        num_threads=classify.num_threads,
        core_mask=classify.core_mask,
    )


def _measure_order(measure: control_pb2.MeasureJob) -> MeasureOrder:
    canary: CanaryOrder | None = None
    if measure.HasField("canary"):
        wanted = measure.canary
        canary = CanaryOrder(
            model=_artifact(wanted.model),
            baseline_us=wanted.baseline_us if wanted.HasField("baseline_us") else None,
            output_digest=wanted.output_digest,
            tolerance=wanted.tolerance if wanted.HasField("tolerance") else None,
        )
    return MeasureOrder(
        model=_artifact(measure.model),
        profile=MeasurementProfile.named(measure.profile),
        dtype=known(DTYPES, measure.dtype, "dtype"),
        batch=measure.batch,
        num_threads=measure.num_threads,
        core_mask=measure.core_mask,
        input_seed=measure.input_seed,
        input_ranges=ranges_from_proto(measure.input_ranges),
        canary=canary,
        cpu_operators=tuple(measure.cpu_operators),
        layer_times=measure.layer_times,
    )


def _artifact(ref: control_pb2.ArtifactRef) -> ArtifactRef:
    return ArtifactRef(ref.sha256, ref.size_bytes, ref.format)


def envelope_to_proto(lease: LeaseKey, outcome: Outcome) -> control_pb2.ResultEnvelope:
    """Write a result as it is spooled and sent."""
    envelope = control_pb2.ResultEnvelope(
        lease=lease_to_proto(lease), fetch_s=outcome.fetch_s, device_s=outcome.device_s, total_s=outcome.total_s
    )
    if outcome.measurement is not None:
        envelope.measurement.CopyFrom(measurement_to_proto(outcome.measurement))
    elif outcome.classification is not None:
        envelope.classification.CopyFrom(classification_to_proto(outcome.classification))
    else:
        error = JobFailedError(outcome.failure or FailureType.AGENT_FAULT, outcome.message, outcome.canary)
        envelope.failure.CopyFrom(control_pb2.Failure(phase=f"PHASE_{outcome.phase.name}"))
        envelope.failure.MergeFrom(failure_to_proto(error))
    return envelope
