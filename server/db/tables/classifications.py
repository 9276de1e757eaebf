"""The table of classifications."""

from __future__ import annotations

import sqlalchemy as sa

from server.db.tables.base import metadata
from server.db.types import Digest, Id, Json, Label, Timestamp, finite

classifications = sa.Table(
    "classifications",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("source", Label, nullable=False),
    sa.Column("images_sha256", Digest, nullable=False),
    sa.Column("num_images", sa.BigInteger, nullable=False),
    sa.Column("num_classes", sa.BigInteger, nullable=False),
    sa.Column("num_correct", sa.BigInteger, nullable=False),
    sa.Column("model_sha256", Digest, nullable=False),
    sa.Column("source_sha256", Digest, nullable=False),
    sa.Column("dtype", Label, nullable=False),
    sa.Column("batch", sa.BigInteger, nullable=False),
    sa.Column("hardware_key", Digest, sa.ForeignKey("hardware.hardware_key")),
    sa.Column("device_type", Label),
    sa.Column("device_id", Id, sa.ForeignKey("devices.id"), index=True),
    sa.Column("job_id", Id),
    sa.Column("lease_id", Id, unique=True),
    sa.Column("search_id", Id, index=True),
    sa.Column("candidate_id", Id, index=True),
    sa.Column("arch_id", Digest),
    sa.Column("label", Label, nullable=False),
    sa.Column("predictions", sa.LargeBinary, nullable=False),
    sa.Column("reference_id", Id),
    sa.Column("loss", sa.Double),
    sa.Column("loss_standard_error", sa.Double),
    sa.Column("agreement", sa.Double),
    sa.Column("superseded", sa.Boolean, nullable=False),
    sa.Column("environment", Json),
    sa.Column("result_digest", Digest),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Index("ix_classifications_source_sha256_images_sha256", "source_sha256", "images_sha256"),
    finite("loss"),
    finite("loss_standard_error"),
    finite("agreement"),
)
