"""What an agent and its measuring child say to each other: JSON objects behind a four-byte big-endian length."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from device_agent.failures import FailureType, JobFailedError
from device_agent.measuring.canary import Canary
from device_agent.measuring.classify import ClassifyRequest
from device_agent.measuring.procedure import MeasureRequest
from device_agent.runtime.base import SessionSettings
from nas_engine.domain.classification import Classification, compress_predictions, decompress_predictions
from nas_engine.domain.measurement import (
    CanaryReading,
    Dtype,
    EnvironmentRecord,
    HardwareKey,
    Measurement,
    MeasurementProfile,
    Validity,
    ValidityFlag,
    compress_blocks,
    decompress_blocks,
)

MAX_FRAME_BYTES = 256 * 2**20
Message = dict[str, Any]


def write_frame(stream: BinaryIO, message: Mapping[str, Any]) -> None:
    """Send one message; it is out when this returns."""
    data = json.dumps(message, allow_nan=False).encode()
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()


def read_frame(stream: BinaryIO) -> Message | None:
    """The next message; None when the other side is gone, even in the middle of one.

    Raises:
        ValueError: the frame is too long or not a JSON object.
    """
    header = stream.read(4)
    if len(header) < 4:
        return None
    (size,) = struct.unpack(">I", header)
    if size > MAX_FRAME_BYTES:
        raise ValueError(f"frame of {size} bytes")
    data = stream.read(size)
    if len(data) < size:
        return None
    message = json.loads(data)
    if not isinstance(message, dict):
        raise ValueError("frame is not an object")
    return message


def request_to_json(request: MeasureRequest) -> Message:
    """A request as a message body."""
    canary = request.canary
    return {
        "model": str(request.model),
        "settings": asdict(request.settings),
        "profile": asdict(request.profile),
        "dtype": request.dtype.value,
        "canary": None if canary is None else asdict(canary) | {"path": str(canary.path)},
        "cpu_operators": list(request.cpu_operators),
    }


def request_from_json(message: Mapping[str, Any]) -> MeasureRequest:
    """The inverse of `request_to_json`."""
    canary = message["canary"]
    return MeasureRequest(
        model=Path(message["model"]),
        settings=SessionSettings(**message["settings"]),
        profile=MeasurementProfile(**message["profile"]),
        dtype=Dtype(message["dtype"]),
        canary=None if canary is None else Canary(**{**canary, "path": Path(canary["path"])}),
        cpu_operators=tuple(message["cpu_operators"]),
    )


def classify_request_to_json(request: ClassifyRequest) -> Message:
    """A request to classify as a message body."""
    return {
        "classify": {
            "model": str(request.model),
            "images": str(request.images),
            "images_sha256": request.images_sha256,
            "num_images": request.num_images,
            "settings": asdict(request.settings),
            "dtype": request.dtype.value,
        }
    }


def classify_request_from_json(message: Mapping[str, Any]) -> ClassifyRequest | None:
    """The inverse of `classify_request_to_json`; None for a request to measure."""
    body = message.get("classify")
    if body is None:
        return None
    return ClassifyRequest(
        model=Path(body["model"]),
        images=Path(body["images"]),
        images_sha256=body["images_sha256"],
        num_images=body["num_images"],
        settings=SessionSettings(**body["settings"]),
        dtype=Dtype(body["dtype"]),
    )


def classification_to_json(classification: Classification) -> Message:
    """Answers as a message body; predictions are compressed, in base64."""
    return {
        "predictions": base64.b64encode(compress_predictions(classification.predictions)).decode(),
        "num_images": len(classification.predictions),
        "num_classes": classification.num_classes,
        "images_sha256": classification.images_sha256,
        "hardware_key": classification.hardware_key.to_json(),
        "environment": classification.environment.to_json(),
    }


def classification_from_json(message: Mapping[str, Any]) -> Classification:
    """The inverse of `classification_to_json`.

    Raises:
        InvalidMeasurementError: predictions or records are malformed.
    """
    return Classification(
        predictions=decompress_predictions(base64.b64decode(message["predictions"]), message["num_images"]),
        num_classes=message["num_classes"],
        images_sha256=message["images_sha256"],
        hardware_key=HardwareKey.from_json(message["hardware_key"]),
        environment=EnvironmentRecord.from_json(message["environment"]),
    )


def measurement_to_json(measurement: Measurement) -> Message:
    """A measurement as a message body; samples are compressed blocks in base64."""
    return {
        "blocks": base64.b64encode(compress_blocks(measurement.blocks)).decode(),
        "flags": [[f.validity.value, f.reason] for f in measurement.flags],
        "environment": measurement.environment.to_json(),
        "hardware_key": measurement.hardware_key.to_json(),
        "load_us": measurement.load_us,
        "init_us": measurement.init_us,
        "first_run_us": measurement.first_run_us,
        "canary_before": _canary_to_json(measurement.canary_before),
        "canary_after": _canary_to_json(measurement.canary_after),
        "npu_time_source": measurement.npu_time_source,
        "output_digest": measurement.output_digest,
    }


def measurement_from_json(message: Mapping[str, Any]) -> Measurement:
    """The inverse of `measurement_to_json`.

    Raises:
        InvalidMeasurementError: samples or records are malformed.
    """
    return Measurement(
        blocks=decompress_blocks(base64.b64decode(message["blocks"])),
        flags=tuple(ValidityFlag(Validity(v), reason) for v, reason in message["flags"]),
        environment=EnvironmentRecord.from_json(message["environment"]),
        hardware_key=HardwareKey.from_json(message["hardware_key"]),
        load_us=message["load_us"],
        init_us=message["init_us"],
        first_run_us=message["first_run_us"],
        canary_before=_canary_from_json(message["canary_before"]),
        canary_after=_canary_from_json(message["canary_after"]),
        npu_time_source=message["npu_time_source"],
        output_digest=message["output_digest"],
    )


def failure_to_json(error: JobFailedError) -> Message:
    """A typed failure as a message body."""
    return {"type": error.type.value, "message": error.message, "canary": _canary_to_json(error.canary)}


def failure_from_json(message: Mapping[str, Any]) -> JobFailedError:
    """The inverse of `failure_to_json`."""
    return JobFailedError(FailureType(message["type"]), message["message"], _canary_from_json(message["canary"]))


def _canary_to_json(reading: CanaryReading | None) -> Message | None:
    return None if reading is None else asdict(reading)


def _canary_from_json(message: Mapping[str, Any] | None) -> CanaryReading | None:
    return None if message is None else CanaryReading(**message)
