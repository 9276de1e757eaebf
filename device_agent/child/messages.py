"""The frames between an agent and its measuring process, and the requests in them (proto measuring_process).

A frame is the length of a message, four bytes big-endian, and the message; what is answered is written and read by
`device_agent.measuring.messages` and `hilnas.wire`, as it is for the server.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, TypeVar

from google.protobuf.message import DecodeError

from device_agent.measuring.canary import Canary
from device_agent.measuring.classify import ClassifyRequest
from device_agent.measuring.procedure import MeasureRequest
from device_agent.runtime.base import SessionSettings
from hilnas.v1 import control_pb2
from hilnas.v1.measuring_process_pb2 import ProcessEvent, ProcessRequest
from hilnas.wire import DTYPES, known, ranges_from_proto, ranges_to_proto
from nas_engine.domain.measurement import MeasurementProfile

MAX_FRAME_BYTES = 256 * 2**20
M = TypeVar("M", ProcessEvent, ProcessRequest)


def write_frame(stream: BinaryIO, message: ProcessEvent | ProcessRequest) -> None:
    """Send one message; it is out when this returns."""
    data = message.SerializeToString()
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()


def read_frame(stream: BinaryIO, kind: type[M]) -> M | None:
    """Receive the next message; None when the other side is gone, even in the middle of one.

    Raises:
        ValueError: the frame is longer than `MAX_FRAME_BYTES`, or no message of that kind.
    """
    header = stream.read(4)
    if len(header) < 4:
        return None
    (size,) = struct.unpack(">I", header)
    if size > MAX_FRAME_BYTES:
        raise ValueError(f"frame of {size} bytes: at most {MAX_FRAME_BYTES} are read")
    data = stream.read(size)
    if len(data) < size:
        return None
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise ValueError(f"frame of {size} bytes is no {kind.__name__}: {error}") from error


def request_to_proto(request: MeasureRequest | ClassifyRequest) -> ProcessRequest:
    """Write what a measuring process is to do."""
    message = ProcessRequest(model_path=os.fsencode(request.model))
    settings = request.settings
    if isinstance(request, ClassifyRequest):
        message.images_path = os.fsencode(request.images)
        message.classify.CopyFrom(
            control_pb2.ClassifyJob(
                model=control_pb2.ArtifactRef(format=settings.format),
                images=control_pb2.ArtifactRef(sha256=request.images_sha256),
                dtype=f"DTYPE_{request.dtype.name}",
                batch=settings.batch,
                num_threads=settings.num_threads,
                core_mask=settings.core_mask,
                num_images=request.num_images,
            )
        )
        return message
    message.measure.CopyFrom(
        control_pb2.MeasureJob(
            model=control_pb2.ArtifactRef(format=settings.format),
            profile=request.profile.name,
            dtype=f"DTYPE_{request.dtype.name}",
            batch=settings.batch,
            num_threads=settings.num_threads,
            core_mask=settings.core_mask,
            input_seed=settings.input_seed,
            input_ranges=ranges_to_proto(settings.input_ranges),
            cpu_operators=request.cpu_operators,
            layer_times=request.layer_times,
        )
    )
    if request.canary is not None:
        canary = request.canary
        message.canary_path = os.fsencode(canary.path)
        message.measure.canary.CopyFrom(
            control_pb2.CanarySpec(
                model=control_pb2.ArtifactRef(sha256=canary.sha256, format=canary.format),
                baseline_us=canary.baseline_us,
                output_digest=canary.output_digest,
                tolerance=canary.tolerance,
            )
        )
    return message


def request_from_proto(message: ProcessRequest) -> MeasureRequest | ClassifyRequest:
    """Read what `request_to_proto` wrote.

    Raises:
        InvalidMeasurementError, ValueError: the profile or the dtype is not known.
    """
    model = _path(message.model_path)
    if message.WhichOneof("work") == "classify":
        classify = message.classify
        return ClassifyRequest(
            model=model,
            images=_path(message.images_path),
            images_sha256=classify.images.sha256,
            num_images=classify.num_images,
            settings=SessionSettings(
                format=classify.model.format,
                num_threads=classify.num_threads,
                core_mask=classify.core_mask,
                batch=classify.batch,
            ),
            dtype=known(DTYPES, classify.dtype, "dtype"),
        )
    measure = message.measure
    canary = None
    if measure.HasField("canary"):
        spec = measure.canary
        canary = Canary(
            path=_path(message.canary_path),
            sha256=spec.model.sha256,
            format=spec.model.format,
            baseline_us=spec.baseline_us if spec.HasField("baseline_us") else None,
            output_digest=spec.output_digest,
            tolerance=spec.tolerance if spec.HasField("tolerance") else None,
        )
    return MeasureRequest(
        model=model,
        settings=SessionSettings(
            format=measure.model.format,
            num_threads=measure.num_threads,
            core_mask=measure.core_mask,
            input_seed=measure.input_seed,
            input_ranges=ranges_from_proto(measure.input_ranges),
            batch=measure.batch,
        ),
        profile=MeasurementProfile.named(measure.profile),
        dtype=known(DTYPES, measure.dtype, "dtype"),
        canary=canary,
        cpu_operators=tuple(measure.cpu_operators),
        layer_times=measure.layer_times,
    )


def _path(name: bytes) -> Path:
    return Path(os.fsdecode(name))
