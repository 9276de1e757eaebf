"""The resource of an artifact."""

from __future__ import annotations

from datetime import datetime

from server.access.schemas import Owner
from server.core.http.resources import Resource, Sha256


class ArtifactResource(Resource):
    """An artifact: bytes that are stored under the hash of their content."""

    sha256: Sha256
    """SHA-256 of the content, lower-case hex, checked by the server; its address under /artifacts."""

    size_bytes: int
    """Size of the content in bytes, counted by the server as it was stored."""

    media_type: str
    """Media type that the first upload named, or the one the service gave to what it made."""

    created_at: datetime
    """Time at which it was first stored, RFC 3339 in UTC."""

    owner: Owner = None
    """Principal that first uploaded it; null for what the service made, and without authentication."""
