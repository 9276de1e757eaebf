"""Measurements and classifications as messages of hilnas.v1, written and read in one place for agents, their measuring
processes and the server. Every enum is mapped once, by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TypeVar

from hilnas.v1 import control_pb2, measurement_pb2
from nas_engine.domain.json_value import canonical_json, parse_json
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
    compress_blocks,
    decompress_blocks,
)
from nas_engine.domain.measuring.classification import Classification, compress_predictions, decompress_predictions
from nas_engine.domain.measuring.layer_times import LayerProfile, ProfiledLayer, compress_times, decompress_times
from nas_engine.domain.text import MAX_REASON_CHARACTERS, one_line

E = TypeVar("E", bound=Enum)
DTYPES: Mapping[int, Dtype] = {measurement_pb2.Dtype.Value(f"DTYPE_{d.name}"): d for d in Dtype}
DEVICE_CLASSES: Mapping[int, DeviceClass] = {
    measurement_pb2.DeviceClass.Value(f"DEVICE_CLASS_{c.name}"): c for c in DeviceClass
}
VALIDITIES: Mapping[int, Validity] = {
    measurement_pb2.Validity.Value(f"VALIDITY_{v.name}"): v for v in Validity if v is not Validity.VALID
}
"""Flags of a measurement: what is valid carries none."""


def known(values: Mapping[int, E], number: int, what: str) -> E:
    """The value behind a number of the wire; `what` names it in the message.

    Raises:
        InvalidMeasurementError: this version has no such value.
    """
    if number not in values:
        raise InvalidMeasurementError(f"{what} {number} is not known to this version of hilnas: upgrade it first")
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


def identity_from_proto(identity: measurement_pb2.DeviceIdentity) -> DeviceIdentity:
    """Read the device's part of a hardware key. Raises InvalidMeasurementError: a part is missing or malformed."""
    return DeviceIdentity(
        board_model=identity.board_model,
        device_class=known(DEVICE_CLASSES, identity.device_class, "device class"),
        runtime=identity.runtime,
        runtime_versions=tuple((v.component, v.version) for v in identity.runtime_versions),
        clocks_profile=identity.clocks_profile,
        core_mask=identity.core_mask,
    )


def canary_to_proto(reading: CanaryReading) -> measurement_pb2.CanaryReading:
    """Write a run of the golden model."""
    return measurement_pb2.CanaryReading(
        artifact_sha256=reading.artifact_sha256,
        median_us=reading.median_us,
        ratio=reading.ratio,
        output_digest=reading.output_digest or "",
    )


def canary_from_proto(reading: measurement_pb2.CanaryReading) -> CanaryReading:
    """Read a run of the golden model. Raises InvalidMeasurementError: it is malformed."""
    return CanaryReading(
        artifact_sha256=reading.artifact_sha256,
        median_us=reading.median_us,
        ratio=reading.ratio if reading.HasField("ratio") else None,
        output_digest=reading.output_digest or None,
    )


def measurement_to_proto(measurement: Measurement) -> measurement_pb2.Measurement:
    """Write a measurement without statistics: the server computes them from the samples."""
    key, before, after = measurement.hardware_key, measurement.canary_before, measurement.canary_after
    return measurement_pb2.Measurement(
        identity=identity_to_proto(key.identity),
        dtype=f"DTYPE_{key.dtype.name}",
        batch=key.batch,
        samples=compress_blocks(measurement.blocks),
        flags=[
            measurement_pb2.ValidityFlag(
                validity=f"VALIDITY_{f.validity.name}", reason=one_line(f.reason, MAX_REASON_CHARACTERS)
            )
            for f in measurement.flags
        ],
        environment_json=canonical_json(measurement.environment.to_json()),
        load_us=measurement.load_us,
        init_us=measurement.init_us,
        first_run_us=measurement.first_run_us,
        canary_before=None if before is None else canary_to_proto(before),
        canary_after=None if after is None else canary_to_proto(after),
        npu_time_source=measurement.npu_time_source or "",
        output_digest=measurement.output_digest or "",
        layers=None if measurement.layers is None else _profile_to_proto(measurement.layers),
    )


def _profile_to_proto(profile: LayerProfile) -> measurement_pb2.LayerProfile:
    return measurement_pb2.LayerProfile(
        source=profile.source,
        layers=[measurement_pb2.ProfiledLayer(name=one.name, operator=one.operator) for one in profile.layers],
        num_runs=profile.num_runs,
        times=compress_times(profile.times_ns),
    )


def _profile_from_proto(message: measurement_pb2.LayerProfile) -> LayerProfile:
    return LayerProfile(
        source=message.source,
        layers=tuple(ProfiledLayer(name=one.name, operator=one.operator) for one in message.layers),
        times_ns=decompress_times(message.times, message.num_runs, len(message.layers)),
    )


def measurement_from_proto(
    message: measurement_pb2.Measurement, max_blocks: int | None = None, *, with_layers: bool = True
) -> Measurement:
    """Read a measurement, checked.

    Args:
        max_blocks: of samples that are unpacked; None where the sender is trusted.
        with_layers: whether times of layers were asked for; others are not unpacked.

    Raises:
        InvalidMeasurementError: samples, record or key are malformed.
    """
    blocks = decompress_blocks(message.samples, max_blocks)
    if not blocks:
        raise InvalidMeasurementError("a measurement without samples")
    return Measurement(
        blocks=blocks,
        flags=tuple(
            ValidityFlag(known(VALIDITIES, f.validity, "validity"), one_line(f.reason, MAX_REASON_CHARACTERS))
            for f in message.flags
        ),
        environment=_environment(message.environment_json),
        hardware_key=_hardware_key(message),
        load_us=message.load_us,
        init_us=message.init_us,
        first_run_us=message.first_run_us,
        canary_before=canary_from_proto(message.canary_before) if message.HasField("canary_before") else None,
        canary_after=canary_from_proto(message.canary_after) if message.HasField("canary_after") else None,
        npu_time_source=message.npu_time_source or None,
        output_digest=message.output_digest or None,
        layers=_profile_from_proto(message.layers) if with_layers and message.HasField("layers") else None,
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


def classification_from_proto(message: measurement_pb2.Classification, num_images: int | None = None) -> Classification:
    """Read the classes a device ranked first, checked.

    Args:
        num_images: how many the job asked for, no more are unpacked; None where the sender is trusted.

    Raises:
        InvalidMeasurementError: predictions, record or key are malformed.
    """
    if num_images is not None and message.num_images != num_images:
        raise InvalidMeasurementError(f"{message.num_images} answers to {num_images} images")
    return Classification(
        predictions=decompress_predictions(message.predictions, message.num_images),
        num_classes=message.num_classes,
        images_sha256=message.images_sha256,
        hardware_key=_hardware_key(message),
        environment=_environment(message.environment_json),
    )


def _hardware_key(message: measurement_pb2.Measurement | measurement_pb2.Classification) -> HardwareKey:
    return HardwareKey(
        identity=identity_from_proto(message.identity),
        dtype=known(DTYPES, message.dtype, "dtype"),
        batch=message.batch,
    )


def _environment(environment_json: str) -> EnvironmentRecord:
    try:
        environment = parse_json(environment_json)
    except ValueError as error:
        raise InvalidMeasurementError(f"environment record: {error}") from error
    if not isinstance(environment, dict):
        raise InvalidMeasurementError("environment record is not an object")
    return EnvironmentRecord.from_json(environment)


def ranges_from_proto(ranges: Iterable[control_pb2.InputRange]) -> dict[str, tuple[int, int]]:
    """Read what integer inputs may carry, by their names: lowest and highest number."""
    return {given.input: (given.lowest, given.highest) for given in ranges}


def ranges_to_proto(ranges: Mapping[str, tuple[int, int]]) -> list[control_pb2.InputRange]:
    """Write what `ranges_from_proto` reads."""
    return [
        control_pb2.InputRange(input=name, lowest=lowest, highest=highest) for name, (lowest, highest) in ranges.items()
    ]
