"""Between the wire's messages about image sets and the service's values."""

from __future__ import annotations

from hilnas.v1 import control_pb2, measurement_pb2
from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.measurement import HardwareKey
from nas_engine.domain.measuring.classification import Classification, decompress_predictions
from server.artifacts.artifact import Artifact
from server.fleet.converters import dtype_from_proto, identity_from_proto
from server.jobs.converters import lease_to_proto
from server.jobs.job import Job
from server.measuring.converters import environment_from_proto
from server.measuring.payloads import ClassifyPayload

IMAGES_FORMAT = "images"


def classify_assignment(
    job: Job, payload: ClassifyPayload, model: Artifact, images: Artifact, ttl_s: float
) -> control_pb2.Assignment:
    """A classifying job for an agent."""
    classify = control_pb2.ClassifyJob(
        model=control_pb2.ArtifactRef(
            sha256=model.sha256, size_bytes=model.size_bytes, format=payload.model_format.value
        ),
        images=control_pb2.ArtifactRef(sha256=images.sha256, size_bytes=images.size_bytes, format=IMAGES_FORMAT),
        dtype=f"DTYPE_{payload.dtype.name}",
        batch=payload.batch,
        num_threads=payload.num_threads,
        core_mask=payload.core_mask,
        num_images=payload.num_images,
    )
    return control_pb2.Assignment(
        lease=lease_to_proto(job), ttl_s=ttl_s, timeout_s=payload.timeout_s, classify=classify
    )


def classification_from_proto(message: measurement_pb2.Classification, num_images: int) -> Classification:
    """A device's predictions, checked.

    Args:
        num_images: how many the job asked for; no more are unpacked.

    Raises:
        InvalidMeasurementError, InvalidValueError: predictions, record or key are malformed.
    """
    if message.num_images != num_images:
        raise InvalidMeasurementError(f"{message.num_images} answers to {num_images} images")
    return Classification(
        predictions=decompress_predictions(message.predictions, num_images),
        num_classes=message.num_classes,
        images_sha256=message.images_sha256,
        hardware_key=HardwareKey(
            identity=identity_from_proto(message.identity),
            dtype=dtype_from_proto(message.dtype),
            batch=message.batch,
        ),
        environment=environment_from_proto(message.environment_json),
    )
