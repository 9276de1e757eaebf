"""Measurements, classifications and failures as messages of hilnas.v1: what a measuring process answers and what is
spooled and sent to the server have one form. Every enum is mapped once, by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from device_agent.failures import JobFailedError
from device_agent.measuring.procedure import Phase
from hilnas.v1 import control_pb2, measurement_pb2
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.json_value import canonical_json
from nas_engine.domain.measurement import (
    CanaryReading,
    DeviceClass,
    DeviceIdentity,
    Dtype,
    EnvironmentRecord,
    HardwareKey,
    Measurement,
    Validity,
    ValidityFlag,
    compress_blocks,
    decompress_blocks,
)
from nas_engine.domain.measuring.classification import Classification, compress_predictions, decompress_predictions

E = TypeVar("E", bound=Enum)
MAX_REASON_CHARACTERS = 1000
DTYPES: Mapping[int, Dtype] = {measurement_pb2.Dtype.Value(f"DTYPE_{d.name}"): d for d in Dtype}
DEVICE_CLASSES: Mapping[int, DeviceClass] = {
    measurement_pb2.DeviceClass.Value(f"DEVICE_CLASS_{c.name}"): c for c in DeviceClass
}
VALIDITIES: Mapping[int, Validity] = {measurement_pb2.Validity.Value(f"VALIDITY_{v.name}"): v for v in Validity}
PHASES: Mapping[int, Phase] = {control_pb2.Phase.Value(f"PHASE_{p.name}"): p for p in Phase}


def known(values: Mapping[int, E], number: int, what: str) -> E:
    """The value behind a number of the wire; `what` names it in the message.

    Raises:
        ValueError: this version has no such value.
    """
    if number not in values:
        raise ValueError(f"{what} {number} is not known to this agent: upgrade it")
    return values[number]


def identity_to_proto(identity: DeviceIdentity) -> measurement_pb2.DeviceIdentity:
    """Write the device's part of a hardware key."""
    return measurement_pb2.DeviceIdentity(
        board_model=identity.board_model,
        device_class=f"DEVICE_CLASS_{identity.device_class.name}",
        runtime=identity.runtime,
        runtime_versions=[
            measurement_pb2.ComponentVersion(component=n, version=v) for n, v in identity.runtime_versions
        ],
        clocks_profile=identity.clocks_profile,
        core_mask=identity.core_mask,
    )


def measurement_to_proto(measurement: Measurement) -> measurement_pb2.Measurement:
    """Write a measurement without statistics: the server computes them from the samples."""
    key = measurement.hardware_key
    return measurement_pb2.Measurement(
        identity=identity_to_proto(key.identity),
        dtype=f"DTYPE_{key.dtype.name}",
        batch=key.batch,
        samples=compress_blocks(measurement.blocks),
        flags=[
            measurement_pb2.ValidityFlag(
                validity=f"VALIDITY_{f.validity.name}", reason=sendable(f.reason, MAX_REASON_CHARACTERS)
            )
            for f in measurement.flags
        ],
        environment_json=canonical_json(measurement.environment.to_json()),
        load_us=measurement.load_us,
        init_us=measurement.init_us,
        first_run_us=measurement.first_run_us,
        canary_before=_canary_to_proto(measurement.canary_before),
        canary_after=_canary_to_proto(measurement.canary_after),
        npu_time_source=measurement.npu_time_source or "",
        output_digest=measurement.output_digest or "",
    )


def measurement_from_proto(message: measurement_pb2.Measurement) -> Measurement:
    """Read what `measurement_to_proto` wrote.

    Raises:
        InvalidMeasurementError, ValueError: samples, record or key are malformed.
    """
    return Measurement(
        blocks=decompress_blocks(message.samples),
        flags=tuple(ValidityFlag(known(VALIDITIES, f.validity, "validity"), f.reason) for f in message.flags),
        environment=EnvironmentRecord.from_json(json.loads(message.environment_json)),
        hardware_key=_hardware_key(message),
        load_us=message.load_us,
        init_us=message.init_us,
        first_run_us=message.first_run_us,
        canary_before=_canary_from_proto(message.canary_before) if message.HasField("canary_before") else None,
        canary_after=_canary_from_proto(message.canary_after) if message.HasField("canary_after") else None,
        npu_time_source=message.npu_time_source or None,
        output_digest=message.output_digest or None,
    )


def classification_to_proto(classification: Classification) -> measurement_pb2.Classification:
    """Write predictions without accuracy: the server, which has the labels, computes it."""
    key = classification.hardware_key
    return measurement_pb2.Classification(
        identity=identity_to_proto(key.identity),
        dtype=f"DTYPE_{key.dtype.name}",
        batch=key.batch,
        images_sha256=classification.images_sha256,
        num_images=len(classification.predictions),
        num_classes=classification.num_classes,
        predictions=compress_predictions(classification.predictions),
        environment_json=canonical_json(classification.environment.to_json()),
    )


def classification_from_proto(message: measurement_pb2.Classification) -> Classification:
    """Read what `classification_to_proto` wrote.

    Raises:
        InvalidMeasurementError, ValueError: predictions, record or key are malformed.
    """
    return Classification(
        predictions=decompress_predictions(message.predictions, message.num_images),
        num_classes=message.num_classes,
        images_sha256=message.images_sha256,
        hardware_key=_hardware_key(message),
        environment=EnvironmentRecord.from_json(json.loads(message.environment_json)),
    )


def sendable(text: str, max_characters: int) -> str:
    """Put text on one line of bounded length, without the bytes of paths and logs that a message refuses."""
    return " ".join(text.encode(errors="replace").decode().split())[:max_characters]


def failure_to_proto(error: JobFailedError) -> control_pb2.Failure:
    """Write a typed failure with the canary that was off, where that is why."""
    return control_pb2.Failure(
        type=f"ERROR_TYPE_{error.type.name}",
        message=sendable(error.message, MAX_REASON_CHARACTERS),
        canary=_canary_to_proto(error.canary),
    )


def failure_from_proto(failure: control_pb2.Failure) -> JobFailedError:
    """Read what `failure_to_proto` wrote; a type this version does not know is a fault of the agent's own."""
    name = control_pb2.ErrorType.Name(failure.type) if failure.type in control_pb2.ErrorType.values() else ""
    type = FailureType.__members__.get(name.removeprefix("ERROR_TYPE_"), FailureType.AGENT_FAULT)
    canary = _canary_from_proto(failure.canary) if failure.HasField("canary") else None
    return JobFailedError(type, failure.message, canary)


def _hardware_key(message: measurement_pb2.Measurement | measurement_pb2.Classification) -> HardwareKey:
    identity = message.identity
    return HardwareKey(
        identity=DeviceIdentity(
            board_model=identity.board_model,
            device_class=known(DEVICE_CLASSES, identity.device_class, "device class"),
            runtime=identity.runtime,
            runtime_versions=tuple((v.component, v.version) for v in identity.runtime_versions),
            clocks_profile=identity.clocks_profile,
            core_mask=identity.core_mask,
        ),
        dtype=known(DTYPES, message.dtype, "dtype"),
        batch=message.batch,
    )


def _canary_to_proto(reading: CanaryReading | None) -> measurement_pb2.CanaryReading | None:
    if reading is None:
        return None
    return measurement_pb2.CanaryReading(
        artifact_sha256=reading.artifact_sha256,
        median_us=reading.median_us,
        ratio=reading.ratio,
        output_digest=reading.output_digest or "",
    )


def _canary_from_proto(reading: measurement_pb2.CanaryReading) -> CanaryReading:
    return CanaryReading(
        artifact_sha256=reading.artifact_sha256,
        median_us=reading.median_us,
        ratio=reading.ratio if reading.HasField("ratio") else None,
        output_digest=reading.output_digest or None,
    )
