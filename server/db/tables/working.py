"""Tables of jobs, leases, measurements and devices."""

from __future__ import annotations

import sqlalchemy as sa

from server.db.tables.base import metadata
from server.db.types import Digest, Id, Json, Label, Timestamp, finite

_UNFINISHED = sa.text("state IN ('queued', 'leased') AND dedupe_key IS NOT NULL")

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", Label, nullable=False),
    sa.Column("state", Label, nullable=False),
    sa.Column("payload", Json, nullable=False),
    sa.Column("dedupe_key", sa.Text),
    sa.Column("priority", sa.BigInteger, nullable=False),
    sa.Column("target_device_type", Label),
    sa.Column("target_pool_key", Digest),
    sa.Column("target_device_id", Id),
    sa.Column("target_labels", Json, nullable=False),
    sa.Column("search_id", Id, sa.ForeignKey("searches.id"), index=True),
    sa.Column("candidate_id", Id, sa.ForeignKey("candidates.id")),
    sa.Column("supernet_id", Id, sa.ForeignKey("supernets.id"), index=True),
    sa.Column("latency_key", Digest),
    sa.Column("hardware_key", Digest),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("max_attempts", sa.BigInteger, nullable=False),
    sa.Column("not_before", Timestamp, nullable=False),
    sa.Column("lease_owner", Id, index=True),
    sa.Column("lease_id", Id),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False),
    sa.Column("lease_expires_at", Timestamp),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("phase", Label),
    sa.Column("failure_type", Label),
    sa.Column("failure_message", sa.Text, nullable=False),
    sa.Column("result", Json),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("started_at", Timestamp),
    sa.Column("finished_at", Timestamp),
    sa.Index("ix_jobs_latency_key_hardware_key", "latency_key", "hardware_key"),
    # One unfinished job per dedupe key.
    sa.Index(
        "uq_jobs_active_dedupe_key", "dedupe_key", unique=True, sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED
    ),
)

# In the order of claims, so that the first match ends a search for work.
sa.Index("ix_jobs_queue", jobs.c.state, jobs.c.kind, jobs.c.priority.desc(), jobs.c.id)

job_exclusions = sa.Table(
    "job_exclusions",
    metadata,
    sa.Column("job_id", Id, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("owner", Id, primary_key=True),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("lease_id", Id, primary_key=True),
    sa.Column("job_id", Id, sa.ForeignKey("jobs.id"), nullable=False, index=True),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.BigInteger, nullable=False),
    sa.Column("owner", Id, nullable=False),
    sa.Column("device_id", Id, index=True),
    sa.Column("claimed_at", Timestamp, nullable=False),
    sa.Column("ended_at", Timestamp),
    sa.Column("outcome", Label),
    sa.Column("failure_type", Label),
    sa.Column("failure_message", sa.Text, nullable=False),
    sa.Column("result_digest", Digest),
    sa.UniqueConstraint("job_id", "lease_epoch"),
)

hardware = sa.Table(
    "hardware",
    metadata,
    sa.Column("hardware_key", Digest, primary_key=True),
    sa.Column("document", Json, nullable=False),
)

measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("kind", Label, nullable=False),
    sa.Column("latency_key", Digest, nullable=False),
    sa.Column("hardware_key", Digest, sa.ForeignKey("hardware.hardware_key"), nullable=False),
    sa.Column("device_class", Label, nullable=False),
    sa.Column("device_type", Label, nullable=False),
    sa.Column("device_id", Id, sa.ForeignKey("devices.id")),
    sa.Column("job_id", Id),
    sa.Column("lease_id", Id, unique=True),
    sa.Column("search_id", Id, index=True),
    sa.Column("candidate_id", Id),
    sa.Column("arch_id", Digest, index=True),
    sa.Column("model_sha256", Digest),
    sa.Column("label", Label, nullable=False),
    sa.Column("profile", Label, nullable=False),
    sa.Column("p50_us", sa.Double, nullable=False),
    sa.Column("min_us", sa.Double, nullable=False),
    sa.Column("p90_us", sa.Double),
    sa.Column("ci95_low_us", sa.Double, nullable=False),
    sa.Column("ci95_high_us", sa.Double, nullable=False),
    sa.Column("stats", Json, nullable=False),
    sa.Column("npu_p50_us", sa.Double),
    sa.Column("load_us", sa.Double, nullable=False),
    sa.Column("init_us", sa.Double, nullable=False),
    sa.Column("first_run_us", sa.Double, nullable=False),
    sa.Column("validity", Label, nullable=False),
    sa.Column("flags", Json, nullable=False),
    sa.Column("superseded", sa.Boolean, nullable=False),
    sa.Column("suspect", sa.Boolean, nullable=False),
    sa.Column("environment", Json),
    sa.Column("canary_before", Json),
    sa.Column("canary_after", Json),
    sa.Column("output_digest", sa.String(128)),
    sa.Column("result_digest", Digest),
    sa.Column("samples", sa.LargeBinary),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Index("ix_measurements_latency_key_hardware_key", "latency_key", "hardware_key"),
    sa.Index("ix_measurements_device_type_id", "device_type", "id"),
    sa.Index("ix_measurements_device_id_created_at", "device_id", "created_at"),
    finite("p50_us"),
    finite("min_us"),
    finite("ci95_low_us"),
    finite("ci95_high_us"),
)

devices = sa.Table(
    "devices",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Label, nullable=False, unique=True),
    sa.Column("device_type", Label, nullable=False, index=True),
    sa.Column("credential_sha256", Digest, nullable=False, unique=True),
    sa.Column("capabilities", Json, nullable=False),
    sa.Column("labels", Json, nullable=False),
    sa.Column("admin_labels", Json, nullable=False),
    sa.Column("state", Label, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("agent_version", Label, nullable=False),
    sa.Column("boot_id", Label, nullable=False),
    sa.Column("instance_epoch", sa.BigInteger, nullable=False),
    sa.Column("num_failures_in_a_row", sa.BigInteger, nullable=False),
    sa.Column("enrolled_at", Timestamp, nullable=False),
    sa.Column("last_seen_at", Timestamp, nullable=False),
    sa.Column("reserved_by", Label),
    sa.Column("reserved_until", Timestamp),
    sa.Column("last_canary_at", Timestamp),
    sa.Column("last_canary_ratio", sa.Double),
    sa.Column("version", sa.BigInteger, nullable=False),
)

enrolment_tokens = sa.Table(
    "enrolment_tokens",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Label, nullable=False),
    sa.Column("secret_sha256", Digest, nullable=False, unique=True),
    sa.Column("max_uses", sa.BigInteger),
    sa.Column("num_uses", sa.BigInteger, nullable=False),
    sa.Column("labels", Json, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.Column("revoked_at", Timestamp),
)

canaries = sa.Table(
    "canaries",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("device_id", Id, sa.ForeignKey("devices.id"), nullable=False),
    sa.Column("artifact_sha256", Digest, nullable=False),
    sa.Column("median_us", sa.Double, nullable=False),
    sa.Column("ratio", sa.Double),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("taken_at", Timestamp, nullable=False),
    sa.Column("pool_key", Digest),
    sa.Column("output_digest", sa.String(128)),
    sa.Column("instance_epoch", sa.BigInteger, nullable=False),
    sa.Index("ix_canaries_device_id_id", "device_id", "id"),
    finite("median_us"),
    finite("ratio"),
)
