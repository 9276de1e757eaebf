"""The resource of an artifact."""

from __future__ import annotations

from datetime import datetime

from server.access.schemas import Owner
from server.artifacts.artifact import ScrubState
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


class ArtifactScrubResource(Resource):
    """Report of the last scrub: every stored file read again and compared with its digest."""

    state: ScrubState
    """Whether one has run, runs, is done or failed."""

    started_at: datetime | None
    """Time at which it began, RFC 3339 in UTC; null where none has run."""

    finished_at: datetime | None
    """Time at which it ended, RFC 3339 in UTC; null while it runs."""

    num_checked: int
    """Number of recorded artifacts that were looked at."""

    checked_bytes: int
    """Bytes that were read."""

    num_corrupted: int
    """Number of artifacts whose file holds other bytes than their digest says."""

    num_missing: int
    """Number of artifacts that are recorded and have no file."""

    num_orphaned: int
    """Number of files, older than an hour, that no record names; uploading their content again adopts them."""

    corrupted: list[str]
    """Digests of corrupted artifacts, the first thousand; uploading the same content again heals each."""

    missing: list[str]
    """Digests of missing artifacts, the first thousand; uploading the same content again heals each."""

    orphaned: list[str]
    """Names of orphaned files, the first thousand."""

    error: str
    """Why the scrub did not finish; empty where it did."""
