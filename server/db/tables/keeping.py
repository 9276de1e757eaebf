"""Tables of supernets, artifacts, events, tokens and idempotency keys."""

from __future__ import annotations

import sqlalchemy as sa

from server.db.tables.base import metadata
from server.db.types import Digest, Id, Json, Label, Timestamp

supernets = sa.Table(
    "supernets",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("space_id", Label, nullable=False),
    sa.Column("dataset", Label, nullable=False),
    sa.Column("state", Label, nullable=False, index=True),
    sa.Column("desired_state", Label, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("progress", Json, nullable=False),
    sa.Column("latest_version_id", Id),
    sa.Column("resume_artifact_sha256", Digest),
    sa.Column("resume_step", sa.BigInteger, nullable=False),
    sa.Column("created_by", Id),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp),
    sa.Column("version", sa.BigInteger, nullable=False),
)

supernet_versions = sa.Table(
    "supernet_versions",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("supernet_id", Id, sa.ForeignKey("supernets.id"), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("weights_sha256", Digest, nullable=False),
    sa.Column("statistics", Json),
    sa.Column("search_id", Id),
    sa.Column("parent_id", Id),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("supernet_id", "number"),
)

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

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("type", Label, nullable=False),
    sa.Column("payload", Json, nullable=False),
    sa.Column("search_id", Id),
    sa.Column("supernet_id", Id),
    sa.Column("device_id", Id),
    sa.Column("study_id", Id),
    sa.Column("created_at", Timestamp, nullable=False, index=True),
    sa.Index("ix_events_search_id_id", "search_id", "id"),
    sa.Index("ix_events_supernet_id_id", "supernet_id", "id"),
    sa.Index("ix_events_device_id_id", "device_id", "id"),
    sa.Index("ix_events_study_id_id", "study_id", "id"),
    sqlite_autoincrement=True,  # ids of pruned events are never given again
)

space_tables = sa.Table(
    "space_tables",
    metadata,
    sa.Column("id", Label, primary_key=True),
    sa.Column("sha256", Digest, nullable=False),
    sa.Column("created_by", Id),
    sa.Column("created_at", Timestamp, nullable=False),
)

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Label, nullable=False),
    sa.Column("prefix", Label, nullable=False),
    sa.Column("secret_sha256", Digest, nullable=False, unique=True),
    sa.Column("roles", Json, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.Column("revoked_at", Timestamp),
    sa.Column("last_used_at", Timestamp),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("caller", Label, primary_key=True),
    sa.Column("method", Label, primary_key=True),
    sa.Column("path", sa.String(500), primary_key=True),
    sa.Column("key", Label, primary_key=True),
    sa.Column("fingerprint", Digest, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("headers", Json),
    sa.Column("body", sa.Text),
    sa.Column("created_at", Timestamp, nullable=False, index=True),
)

# How often each topic was woken. SQLite has no notifications: other processes compare these counts.
wake_counts = sa.Table(
    "wake_counts",
    metadata,
    sa.Column("topic", Label, primary_key=True),
    sa.Column("num_wakes", sa.BigInteger, nullable=False),
)
