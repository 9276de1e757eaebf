"""Artifacts as resources."""

from __future__ import annotations

from server.artifacts.artifact import Artifact
from server.artifacts.schemas import ArtifactResource


def artifact_resource(artifact: Artifact) -> ArtifactResource:
    """What is known of some bytes."""
    return ArtifactResource(
        sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        media_type=artifact.media_type,
        created_at=artifact.created_at,
    )
