"""Tables of artifacts and model exports, and their store."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from server.access.store import OWNER, OWNER_PATH, owned_by, owner_column
from server.artifacts.artifact import Artifact, ModelExport, ModelFormat, WeightsOrigin
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store
from server.core.database.types import Digest, EnumText, Id, JsonOf, Label, Timestamp
from server.core.paging import Page, PageRequest

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("sha256", Digest, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("media_type", Label, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    owner_column(),
    sa.Index("ix_artifacts_created_at_sha256", "created_at", "sha256"),
)


model_exports = sa.Table(
    "model_exports",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("arch_id", Digest, nullable=False, index=True),
    sa.Column("latency_key", Digest, nullable=False, index=True),
    sa.Column("format", EnumText(ModelFormat), nullable=False),
    sa.Column("weights", EnumText(WeightsOrigin), nullable=False),
    sa.Column("sha256", Digest, nullable=False),
    sa.Column("supernet_version_id", Id),
    sa.Column("cpu_operators", JsonOf(tuple[str, ...]), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
)


ARTIFACTS = Rows(Artifact, artifacts, paths=OWNER_PATH, joined=OWNER)
MODEL_EXPORTS = Rows(ModelExport, model_exports)


class ArtifactStore(Store):
    """What the database knows of artifacts."""

    def put_artifact(self, artifact: Artifact) -> None:
        """Store one, if it is not there yet."""
        self._insert_ignore(artifacts, [ARTIFACTS.row_of(artifact)])

    def get_artifact(self, sha256: str) -> Artifact:
        """Read the record of an artifact by its hash."""
        return self._get(ARTIFACTS, artifacts.c.sha256, sha256, "artifact")

    def find_artifact(self, sha256: str) -> Artifact | None:
        """Read one, None where there is none."""
        return self._find(ARTIFACTS, artifacts.c.sha256, sha256)

    def artifacts_after(self, sha256: str, limit: int) -> tuple[Artifact, ...]:
        """The next records in the order of their digests."""
        statement = ARTIFACTS.select(artifacts.c.sha256 > sha256).order_by(artifacts.c.sha256).limit(limit)
        return self._list(ARTIFACTS, statement)

    def page_of_artifacts(
        self, page: PageRequest, owner: str | None = None, media_type: str | None = None
    ) -> Page[Artifact]:
        """List the records of artifacts, or of those of an owner or of a media type, newest first."""
        # The sort value travels in page tokens, so it is the stored number rather than a datetime.
        created = sa.type_coerce(artifacts.c.created_at, sa.BigInteger).label("created_us")
        wanted = () if media_type is None else (artifacts.c.media_type == media_type,)
        statement = owned_by(ARTIFACTS.select(*wanted), artifacts.c.owner_id, owner).add_columns(created)
        return self._page(
            ARTIFACTS, statement, page, value_column=created, id_column=artifacts.c.sha256, descending=True
        )

    def add_export(self, export: ModelExport) -> None:
        """Remember which model file an architecture was exported to."""
        self._insert(MODEL_EXPORTS, export)

    def find_export(
        self,
        latency_key: str,
        format: ModelFormat,
        weights: Sequence[WeightsOrigin],
        supernet_version_id: str | None,
    ) -> ModelExport | None:
        """The newest export under this latency key; with a version id only one made from that version."""
        statement = MODEL_EXPORTS.select(
            model_exports.c.latency_key == latency_key,
            model_exports.c.format == format,
            model_exports.c.weights.in_(weights),
        )
        if supernet_version_id is not None:
            statement = statement.where(model_exports.c.supernet_version_id == supernet_version_id)
        return self._first(MODEL_EXPORTS, statement.order_by(model_exports.c.id.desc()).limit(1))

    def exports_of(self, arch_id: str) -> tuple[ModelExport, ...]:
        """Every export of an architecture, oldest first."""
        statement = MODEL_EXPORTS.select(model_exports.c.arch_id == arch_id).order_by(model_exports.c.id)
        return self._list(MODEL_EXPORTS, statement)
