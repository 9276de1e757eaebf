"""The resource of an artifact."""

from __future__ import annotations

from datetime import datetime

from server.core.http.resources import Resource, Sha256


class ArtifactResource(Resource):
    """Content-addressed bytes."""

    sha256: Sha256
    size_bytes: int
    media_type: str
    created_at: datetime
