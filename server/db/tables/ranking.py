"""Tables of ranking studies."""

from __future__ import annotations

import sqlalchemy as sa

from server.db.tables.base import metadata
from server.db.types import Digest, Id, Json, Label, Timestamp, finite

ranking_studies = sa.Table(
    "ranking_studies",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("supernet_id", Id, sa.ForeignKey("supernets.id"), nullable=False, index=True),
    sa.Column("supernet_version_id", Id, sa.ForeignKey("supernet_versions.id"), nullable=False),
    sa.Column("dataset", Label, nullable=False),
    sa.Column("state", Label, nullable=False, index=True),
    sa.Column("desired_state", Label, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("num_entries", sa.BigInteger, nullable=False),
    sa.Column("num_done", sa.BigInteger, nullable=False),
    sa.Column("num_failed", sa.BigInteger, nullable=False),
    sa.Column("result", Json),
    sa.Column("created_by", Id),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp),
    sa.Column("version", sa.BigInteger, nullable=False),
)

ranking_entries = sa.Table(
    "ranking_entries",
    metadata,
    sa.Column("study_id", Id, sa.ForeignKey("ranking_studies.id"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("arch_id", Digest, sa.ForeignKey("architectures.arch_id"), nullable=False),
    sa.Column("state", Label, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("shared_top1", sa.Double),
    sa.Column("shared_images", sa.BigInteger),
    sa.Column("alone_top1", sa.Double),
    sa.Column("alone_images", sa.BigInteger),
    sa.Column("progress", Json, nullable=False),
    sa.Column("resume_artifact_sha256", Digest),
    sa.Column("resume_step", sa.BigInteger, nullable=False),
    sa.Column("finished_at", Timestamp),
    finite("shared_top1"),
    finite("alone_top1"),
)
