"""Cost tables that were imported: artifacts of one media type, each with what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nas_engine.cost.cost_table import MEDIA_TYPE, BroughtTable, read_brought_table
from nas_engine.domain.errors import InvalidMeasurementError
from server.access.principal import Principal
from server.artifacts.artifact import Artifact
from server.artifacts.artifacts import Artifacts
from server.core.errors import ArtifactDamagedError, NotFoundError
from server.core.paging import Page, PageRequest

MAX_LISTED_BYTES = 1 << 20
"""Larger files are named, and not read: the largest published table has 14 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """One imported table.

    Attributes:
        artifact: its file.
        table: what it says of itself; None where it cannot be read.
        problem: why it cannot be read; empty where it can.
    """

    artifact: Artifact
    table: BroughtTable | None
    problem: str = ""

    @property
    def sha256(self) -> str:
        """What a search names it by."""
        return self.artifact.sha256

    @property
    def size_bytes(self) -> int:
        """Of its file."""
        return self.artifact.size_bytes

    @property
    def created_at(self) -> datetime:
        """When it was first imported."""
        return self.artifact.created_at

    @property
    def owner(self) -> Principal | None:
        """Who first imported it."""
        return self.artifact.owner


class CostTables:
    """Use cases of imported tables."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def page(self, page: PageRequest, owner: str | None = None) -> Page[CostTable]:
        """List all, or those of an owner, newest first; one that cannot be read is listed with the reason."""
        found = self._artifacts.page(page, owner, MEDIA_TYPE)
        return Page(tuple(self._read(artifact) for artifact in found.items), found.next)

    def get(self, sha256: str) -> CostTable:
        """One of them.

        Raises:
            NotFoundError: there is no such artifact, or it is no cost table.
            InvalidValueError: the hash is malformed.
        """
        artifact = self._artifacts.get(sha256)
        if artifact.media_type != MEDIA_TYPE:
            raise NotFoundError("cost table", sha256)
        return self._read(artifact)

    def _read(self, artifact: Artifact) -> CostTable:
        if artifact.size_bytes > MAX_LISTED_BYTES:
            problem = f"it has {artifact.size_bytes} bytes: no table of a space has more than {MAX_LISTED_BYTES}"
            return CostTable(artifact=artifact, table=None, problem=problem)
        try:
            return CostTable(artifact=artifact, table=read_brought_table(self._artifacts.read(artifact.sha256)))
        except (InvalidMeasurementError, ArtifactDamagedError, NotFoundError) as error:
            return CostTable(artifact=artifact, table=None, problem=str(error))
