"""Tables of artifacts and model exports, and their store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from server.artifacts.artifact import Artifact, ModelExport, ModelFormat, WeightsOrigin
from server.core.database.keyset import fetch_page
from server.core.database.metadata import metadata
from server.core.database.store import Store
from server.core.database.types import Digest, Id, Json, Label, Timestamp
from server.core.paging import Page, PageRequest

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("sha256", Digest, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("media_type", Label, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Index("ix_artifacts_created_at_sha256", "created_at", "sha256"),
)


model_exports = sa.Table(
    "model_exports",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("arch_id", Digest, nullable=False, index=True),
    sa.Column("latency_key", Digest, nullable=False, index=True),
    sa.Column("format", Label, nullable=False),
    sa.Column("weights", Label, nullable=False),
    sa.Column("sha256", Digest, nullable=False),
    sa.Column("supernet_version_id", Id),
    sa.Column("cpu_operators", Json, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
)


class ArtifactStore(Store):
    """What the database knows of artifacts."""

    def put(self, artifact: Artifact) -> None:
        """Store one, if it is not there yet."""
        self._insert_ignore(artifacts, [asdict(artifact)])

    def get(self, sha256: str) -> Artifact:
        """Read one."""
        return _artifact(self._one(sa.select(artifacts).where(artifacts.c.sha256 == sha256), "artifact", sha256))

    def find(self, sha256: str) -> Artifact | None:
        """Read one, None where there is none."""
        row = self._connection.execute(sa.select(artifacts).where(artifacts.c.sha256 == sha256)).one_or_none()
        return None if row is None else _artifact(row)

    def page(self, page: PageRequest) -> Page[Artifact]:
        """List, newest first."""
        # The sort value travels in page tokens, so it is the stored number rather than a datetime.
        created = sa.type_coerce(artifacts.c.created_at, sa.BigInteger).label("created_us")
        return fetch_page(
            self._connection,
            sa.select(artifacts, created),
            page,
            value_column=created,
            id_column=artifacts.c.sha256,
            from_row=_artifact,
            descending=True,
        )

    def add_export(self, export: ModelExport) -> None:
        """Remember which model file an architecture was exported to."""
        row = asdict(export)
        row.update(format=export.format.value, weights=export.weights.value, cpu_operators=list(export.cpu_operators))
        self._connection.execute(sa.insert(model_exports).values(row))

    def export(
        self,
        latency_key: str,
        format: ModelFormat,
        weights: Sequence[WeightsOrigin],
        supernet_version_id: str | None,
    ) -> ModelExport | None:
        """The newest export under this latency key; with a version id only one made from that version."""
        statement = sa.select(model_exports).where(
            model_exports.c.latency_key == latency_key,
            model_exports.c.format == format.value,
            model_exports.c.weights.in_([origin.value for origin in weights]),
        )
        if supernet_version_id is not None:
            statement = statement.where(model_exports.c.supernet_version_id == supernet_version_id)
        row = self._connection.execute(statement.order_by(model_exports.c.id.desc()).limit(1)).one_or_none()
        return None if row is None else _export(row)

    def exports_of(self, arch_id: str) -> tuple[ModelExport, ...]:
        """Every export of an architecture, oldest first."""
        statement = sa.select(model_exports).where(model_exports.c.arch_id == arch_id).order_by(model_exports.c.id)
        return tuple(_export(row) for row in self._connection.execute(statement))


def _artifact(row: sa.Row[Any]) -> Artifact:
    return Artifact(sha256=row.sha256, size_bytes=row.size_bytes, media_type=row.media_type, created_at=row.created_at)


def _export(row: sa.Row[Any]) -> ModelExport:
    return ModelExport(
        id=row.id,
        arch_id=row.arch_id,
        latency_key=row.latency_key,
        format=ModelFormat(row.format),
        weights=WeightsOrigin(row.weights),
        sha256=row.sha256,
        supernet_version_id=row.supernet_version_id,
        cpu_operators=tuple(row.cpu_operators),
        created_at=row.created_at,
    )
