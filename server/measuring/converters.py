"""Measuring jobs as messages for agents, and what their measurements say of the device."""

from __future__ import annotations

from hilnas.v1 import control_pb2, measurement_pb2
from hilnas.wire import ranges_to_proto
from nas_engine.domain.text import MAX_REASON_CHARACTERS, one_line
from server.artifacts.artifact import Artifact
from server.jobs.converters import lease_to_proto
from server.jobs.job import Job
from server.measuring.canaries.canaries import CanaryPlan
from server.measuring.payloads import MeasurePayload


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


def alarms_of(message: measurement_pb2.Measurement) -> tuple[str, ...]:
    """Why the device's canary after a measurement is not well; empty where it is."""
    degraded = measurement_pb2.VALIDITY_DEGRADED_DEVICE
    return tuple(one_line(flag.reason, MAX_REASON_CHARACTERS) for flag in message.flags if flag.validity == degraded)


def assignment_to_proto(
    job: Job, payload: MeasurePayload, model: Artifact, canary: CanaryPlan | None, ttl_s: float
) -> control_pb2.Assignment:
    """A job for an agent."""
    measure = control_pb2.MeasureJob(
        model=control_pb2.ArtifactRef(
            sha256=payload.model_sha256, size_bytes=model.size_bytes, format=payload.model_format.value
        ),
        profile=payload.profile,
        dtype=f"DTYPE_{payload.dtype.name}",
        batch=payload.batch,
        num_threads=payload.num_threads,
        core_mask=payload.core_mask,
        input_seed=payload.input_seed,
        input_ranges=ranges_to_proto(payload.input_ranges),
        cpu_operators=payload.cpu_operators,
        layer_times=payload.layer_times,
    )
    if canary is not None:
        measure.canary.CopyFrom(canary_to_proto(canary))
    return control_pb2.Assignment(
        lease=lease_to_proto(job),
        ttl_s=ttl_s,
        timeout_s=payload.timeout_s,
        measure=measure,
    )
