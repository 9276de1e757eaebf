"""Tables of searches, candidates, evaluations and checkpoints."""

from __future__ import annotations

import sqlalchemy as sa

from server.db.tables.base import metadata
from server.db.types import Digest, Id, Json, Label, Timestamp, finite

searches = sa.Table(
    "searches",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("state", Label, nullable=False, index=True),
    sa.Column("desired_state", Label, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("space_id", Label, nullable=False),
    sa.Column("hardware_key", Digest),
    sa.Column("supernet_id", Id, sa.ForeignKey("supernets.id"), index=True),
    sa.Column("supernet_version_id", Id),
    sa.Column("checkpoint_seq", sa.BigInteger, nullable=False),
    sa.Column("progress", Json, nullable=False),
    sa.Column("created_by", Id),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("started_at", Timestamp),
    sa.Column("finished_at", Timestamp),
    sa.Column("version", sa.BigInteger, nullable=False),
)

# Labels of searches and devices, as rows so that filters can use an index.
labels = sa.Table(
    "labels",
    metadata,
    sa.Column("owner_id", Id, primary_key=True),
    sa.Column("key", Label, primary_key=True),
    sa.Column("value", Label, nullable=False),
    sa.Index("ix_labels_key_value", "key", "value"),
)

architectures = sa.Table(
    "architectures",
    metadata,
    sa.Column("arch_id", Digest, primary_key=True),
    sa.Column("space_id", Label, nullable=False, index=True),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("choices", sa.Text, nullable=False),
    sa.Column("genotype", Json),
    sa.Column("macs", sa.BigInteger),
    sa.Column("params", sa.BigInteger),
    sa.Column("peak_activation_bytes", sa.BigInteger),
)

candidates = sa.Table(
    "candidates",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("arch_id", Digest, sa.ForeignKey("architectures.arch_id"), nullable=False, index=True),
    sa.Column("genotype", Json, nullable=False),
    sa.Column("latency_key", Digest),
    sa.Column("state", Label, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("top1", sa.Double),
    sa.Column("test_top1", sa.Double),
    sa.Column("device_top1", sa.Double),
    sa.Column("latency_us", sa.Double),
    sa.Column("latency_flags", Json, nullable=False),
    sa.Column("model_sha256", Digest),
    sa.Column("final_model_sha256", Digest),
    sa.Column("told_seq", sa.BigInteger),
    sa.Column("provenance", Json),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp),
    sa.UniqueConstraint("search_id", "arch_id"),
    sa.UniqueConstraint("search_id", "seq"),
    sa.Index("ix_candidates_search_id_state", "search_id", "state"),
    finite("top1"),
    finite("test_top1"),
    finite("device_top1"),
    finite("latency_us"),
)

evaluations = sa.Table(
    "evaluations",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), nullable=False),
    sa.Column("candidate_id", Id, sa.ForeignKey("candidates.id"), nullable=False),
    sa.Column("metric", Label, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("uncertainty", sa.Double),
    sa.Column("validity", Label, nullable=False),
    sa.Column("source", Label, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("supernet_version_id", Id),
    sa.Column("measurement_id", Id),
    # Step after which it was recorded: tells what a later step still has to revise.
    sa.Column("recorded_step", sa.BigInteger, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("candidate_id", "metric", "attempt"),
    sa.Index("ix_evaluations_search_id_recorded_step", "search_id", "recorded_step"),
    finite("value"),
    finite("uncertainty"),
)

awaited_evaluations = sa.Table(
    "awaited_evaluations",
    metadata,
    sa.Column("candidate_id", Id, sa.ForeignKey("candidates.id"), primary_key=True),
    sa.Column("metric", Label, primary_key=True),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), nullable=False, index=True),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("supernet_version_id", Id),
    sa.Column("latency_key", Digest),
    sa.Column("hardware_key", Digest),
    sa.Index("ix_awaited_evaluations_latency_key_hardware_key", "latency_key", "hardware_key"),
)

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    # Text, not JSONB: an algorithm's state must come back exactly (1e20 as a float, -0.0 with its sign).
    sa.Column("payload", sa.JSON(none_as_null=True), nullable=False),
    sa.Column("code_version", Label, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
)
