"""Measurements and their environment between protobuf messages and values."""

from __future__ import annotations

from collections.abc import Mapping

from hilnas.v1 import control_pb2, measurement_pb2
from nas_engine.domain.measurement import (
    CanaryReading,
    EnvironmentRecord,
    HardwareKey,
    InvalidMeasurementError,
    Measurement,
    MeasurementProfile,
    Validity,
    ValidityFlag,
    decompress_blocks,
)
from server.artifacts.artifact import Artifact
from server.core.json_text import parse_json
from server.core.rpc.enums import MAX_MESSAGE_CHARACTERS, known
from server.core.text import one_line
from server.fleet.converters import (
    DTYPES,
    identity_from_proto,
)
from server.jobs.converters import lease_to_proto
from server.jobs.job import Job
from server.measuring.canaries.canaries import CanaryPlan
from server.measuring.payloads import MeasurePayload

VALIDITIES: Mapping[int, Validity] = {
    measurement_pb2.Validity.Value(f"VALIDITY_{v.name}"): v for v in Validity if v is not Validity.VALID
}


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
        environment = parse_json(environment_json)
    except ValueError as error:
        raise InvalidMeasurementError(f"environment record: {error}") from error
    if not isinstance(environment, dict):
        raise InvalidMeasurementError("environment record is not an object")
    return EnvironmentRecord.from_json(environment)


def measurement_from_proto(message: measurement_pb2.Measurement, profile: MeasurementProfile) -> Measurement:
    """A measurement, checked.

    Args:
        profile: what the job asked for; bounds how many samples are unpacked.

    Raises:
        InvalidMeasurementError, InvalidValueError: samples, record or key are malformed.
    """
    blocks = decompress_blocks(message.samples, profile.max_blocks_in_all)
    if not blocks:
        raise InvalidMeasurementError("a measurement without samples")
    return Measurement(
        blocks=blocks,
        flags=tuple(
            ValidityFlag(known(VALIDITIES, f.validity, "validity"), one_line(f.reason, MAX_MESSAGE_CHARACTERS))
            for f in message.flags
        ),
        environment=environment_from_proto(message.environment_json),
        hardware_key=HardwareKey(
            identity=identity_from_proto(message.identity),
            dtype=known(DTYPES, message.dtype, "dtype"),
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


def alarms_of(message: measurement_pb2.Measurement) -> tuple[str, ...]:
    """Why the device's canary after a measurement is not well; empty where it is."""
    degraded = measurement_pb2.VALIDITY_DEGRADED_DEVICE
    return tuple(one_line(flag.reason, MAX_MESSAGE_CHARACTERS) for flag in message.flags if flag.validity == degraded)


def canary_from_proto(reading: measurement_pb2.CanaryReading) -> CanaryReading:
    """A run of the golden model."""
    return CanaryReading(
        artifact_sha256=reading.artifact_sha256,
        median_us=reading.median_us,
        ratio=reading.ratio if reading.HasField("ratio") else None,
        output_digest=reading.output_digest or None,
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
        dtype=f"DTYPE_{payload.dtype.name}",
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
