"""Classifying jobs as messages for agents."""

from __future__ import annotations

from hilnas.v1 import control_pb2
from server.artifacts.artifact import Artifact
from server.jobs.converters import lease_to_proto
from server.jobs.job import Job
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
