"""Create the tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("prefix", sa.String(length=200), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("roles", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_api_tokens_secret_sha256")),
    )
    op.create_table(
        "architectures",
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("space_id", sa.String(length=200), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("choices", sa.Text(), nullable=False),
        sa.Column("genotype", JSON, nullable=True),
        sa.Column("macs", sa.BigInteger(), nullable=True),
        sa.Column("params", sa.BigInteger(), nullable=True),
        sa.Column("peak_activation_bytes", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("arch_id", name=op.f("pk_architectures")),
    )
    with op.batch_alter_table("architectures", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_architectures_space_id"), ["space_id"], unique=False)

    op.create_table(
        "artifacts",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_artifacts")),
    )
    with op.batch_alter_table("artifacts", schema=None) as batch_op:
        batch_op.create_index("ix_artifacts_created_at_sha256", ["created_at", "sha256"], unique=False)

    op.create_table(
        "devices",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("device_type", sa.String(length=200), nullable=False),
        sa.Column("credential_sha256", sa.String(length=64), nullable=False),
        sa.Column("capabilities", JSON, nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("admin_labels", JSON, nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("agent_version", sa.String(length=200), nullable=False),
        sa.Column("boot_id", sa.String(length=200), nullable=False),
        sa.Column("instance_epoch", sa.BigInteger(), nullable=False),
        sa.Column("num_failures_in_a_row", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("reserved_by", sa.String(length=200), nullable=True),
        sa.Column("reserved_until", sa.BigInteger(), nullable=True),
        sa.Column("last_canary_at", sa.BigInteger(), nullable=True),
        sa.Column("last_canary_ratio", sa.Double(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("credential_sha256", name=op.f("uq_devices_credential_sha256")),
        sa.UniqueConstraint("name", name=op.f("uq_devices_name")),
    )
    with op.batch_alter_table("devices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_devices_device_type"), ["device_type"], unique=False)

    op.create_table(
        "enrolment_tokens",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("max_uses", sa.BigInteger(), nullable=True),
        sa.Column("num_uses", sa.BigInteger(), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolment_tokens")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_enrolment_tokens_secret_sha256")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("type", sa.String(length=200), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("search_id", sa.String(length=40), nullable=True),
        sa.Column("supernet_id", sa.String(length=40), nullable=True),
        sa.Column("device_id", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_events_created_at"), ["created_at"], unique=False)
        batch_op.create_index("ix_events_device_id_id", ["device_id", "id"], unique=False)
        batch_op.create_index("ix_events_search_id_id", ["search_id", "id"], unique=False)
        batch_op.create_index("ix_events_supernet_id_id", ["supernet_id", "id"], unique=False)

    op.create_table(
        "hardware",
        sa.Column("hardware_key", sa.String(length=64), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.PrimaryKeyConstraint("hardware_key", name=op.f("pk_hardware")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.String(length=200), nullable=False),
        sa.Column("method", sa.String(length=200), nullable=False),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", JSON, nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "method", "path", "key", name=op.f("pk_idempotency_keys")),
    )
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_idempotency_keys_created_at"), ["created_at"], unique=False)

    op.create_table(
        "labels",
        sa.Column("owner_id", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "key", name=op.f("pk_labels")),
    )
    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.create_index("ix_labels_key_value", ["key", "value"], unique=False)

    op.create_table(
        "model_exports",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("latency_key", sa.String(length=64), nullable=False),
        sa.Column("format", sa.String(length=200), nullable=False),
        sa.Column("weights", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("supernet_version_id", sa.String(length=40), nullable=True),
        sa.Column("cpu_operators", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_exports")),
    )
    with op.batch_alter_table("model_exports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_model_exports_arch_id"), ["arch_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_model_exports_latency_key"), ["latency_key"], unique=False)

    op.create_table(
        "supernets",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("space_id", sa.String(length=200), nullable=False),
        sa.Column("dataset", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("desired_state", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("progress", JSON, nullable=False),
        sa.Column("latest_version_id", sa.String(length=40), nullable=True),
        sa.Column("resume_artifact_sha256", sa.String(length=64), nullable=True),
        sa.Column("resume_step", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_supernets")),
    )
    with op.batch_alter_table("supernets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_supernets_state"), ["state"], unique=False)

    op.create_table(
        "canaries",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("device_id", sa.String(length=40), nullable=False),
        sa.Column("artifact_sha256", sa.String(length=64), nullable=False),
        sa.Column("median_us", sa.Double(), nullable=False),
        sa.Column("ratio", sa.Double(), nullable=True),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("median_us >= -1.7e308 AND median_us <= 1.7e308", name=op.f("ck_canaries_median_us_finite")),
        sa.CheckConstraint("ratio >= -1.7e308 AND ratio <= 1.7e308", name=op.f("ck_canaries_ratio_finite")),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_canaries_device_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canaries")),
    )
    with op.batch_alter_table("canaries", schema=None) as batch_op:
        batch_op.create_index("ix_canaries_device_id_id", ["device_id", "id"], unique=False)

    op.create_table(
        "measurements",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("latency_key", sa.String(length=64), nullable=False),
        sa.Column("hardware_key", sa.String(length=64), nullable=False),
        sa.Column("device_class", sa.String(length=200), nullable=False),
        sa.Column("device_type", sa.String(length=200), nullable=False),
        sa.Column("device_id", sa.String(length=40), nullable=True),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("lease_id", sa.String(length=40), nullable=True),
        sa.Column("search_id", sa.String(length=40), nullable=True),
        sa.Column("candidate_id", sa.String(length=40), nullable=True),
        sa.Column("arch_id", sa.String(length=64), nullable=True),
        sa.Column("model_sha256", sa.String(length=64), nullable=True),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("profile", sa.String(length=200), nullable=False),
        sa.Column("p50_us", sa.Double(), nullable=False),
        sa.Column("min_us", sa.Double(), nullable=False),
        sa.Column("p90_us", sa.Double(), nullable=True),
        sa.Column("ci95_low_us", sa.Double(), nullable=False),
        sa.Column("ci95_high_us", sa.Double(), nullable=False),
        sa.Column("stats", JSON, nullable=False),
        sa.Column("npu_p50_us", sa.Double(), nullable=True),
        sa.Column("load_us", sa.Double(), nullable=False),
        sa.Column("init_us", sa.Double(), nullable=False),
        sa.Column("first_run_us", sa.Double(), nullable=False),
        sa.Column("validity", sa.String(length=200), nullable=False),
        sa.Column("flags", JSON, nullable=False),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.Column("suspect", sa.Boolean(), nullable=False),
        sa.Column("environment", JSON, nullable=True),
        sa.Column("canary_before", JSON, nullable=True),
        sa.Column("canary_after", JSON, nullable=True),
        sa.Column("output_digest", sa.String(length=128), nullable=True),
        sa.Column("result_digest", sa.String(length=64), nullable=True),
        sa.Column("samples", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "ci95_high_us >= -1.7e308 AND ci95_high_us <= 1.7e308", name=op.f("ck_measurements_ci95_high_us_finite")
        ),
        sa.CheckConstraint(
            "ci95_low_us >= -1.7e308 AND ci95_low_us <= 1.7e308", name=op.f("ck_measurements_ci95_low_us_finite")
        ),
        sa.CheckConstraint("min_us >= -1.7e308 AND min_us <= 1.7e308", name=op.f("ck_measurements_min_us_finite")),
        sa.CheckConstraint("p50_us >= -1.7e308 AND p50_us <= 1.7e308", name=op.f("ck_measurements_p50_us_finite")),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_measurements_device_id")),
        sa.ForeignKeyConstraint(["hardware_key"], ["hardware.hardware_key"], name=op.f("fk_measurements_hardware_key")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_measurements")),
        sa.UniqueConstraint("lease_id", name=op.f("uq_measurements_lease_id")),
    )
    with op.batch_alter_table("measurements", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_measurements_arch_id"), ["arch_id"], unique=False)
        batch_op.create_index("ix_measurements_device_id_created_at", ["device_id", "created_at"], unique=False)
        batch_op.create_index("ix_measurements_device_type_id", ["device_type", "id"], unique=False)
        batch_op.create_index("ix_measurements_latency_key_hardware_key", ["latency_key", "hardware_key"], unique=False)
        batch_op.create_index(batch_op.f("ix_measurements_search_id"), ["search_id"], unique=False)

    op.create_table(
        "searches",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("desired_state", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("space_id", sa.String(length=200), nullable=False),
        sa.Column("hardware_key", sa.String(length=64), nullable=True),
        sa.Column("supernet_id", sa.String(length=40), nullable=True),
        sa.Column("supernet_version_id", sa.String(length=40), nullable=True),
        sa.Column("checkpoint_seq", sa.BigInteger(), nullable=False),
        sa.Column("progress", JSON, nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["supernet_id"], ["supernets.id"], name=op.f("fk_searches_supernet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_searches")),
    )
    with op.batch_alter_table("searches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_searches_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_searches_supernet_id"), ["supernet_id"], unique=False)

    op.create_table(
        "supernet_versions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("supernet_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("statistics", JSON, nullable=True),
        sa.Column("search_id", sa.String(length=40), nullable=True),
        sa.Column("parent_id", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["supernet_id"], ["supernets.id"], name=op.f("fk_supernet_versions_supernet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_supernet_versions")),
        sa.UniqueConstraint("supernet_id", "number", name=op.f("uq_supernet_versions_supernet_id_number")),
    )
    op.create_table(
        "candidates",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("search_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("genotype", JSON, nullable=False),
        sa.Column("latency_key", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("top1", sa.Double(), nullable=True),
        sa.Column("test_top1", sa.Double(), nullable=True),
        sa.Column("latency_us", sa.Double(), nullable=True),
        sa.Column("latency_flags", JSON, nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=True),
        sa.Column("final_model_sha256", sa.String(length=64), nullable=True),
        sa.Column("told_seq", sa.BigInteger(), nullable=True),
        sa.Column("provenance", JSON, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "latency_us >= -1.7e308 AND latency_us <= 1.7e308", name=op.f("ck_candidates_latency_us_finite")
        ),
        sa.CheckConstraint(
            "test_top1 >= -1.7e308 AND test_top1 <= 1.7e308", name=op.f("ck_candidates_test_top1_finite")
        ),
        sa.CheckConstraint("top1 >= -1.7e308 AND top1 <= 1.7e308", name=op.f("ck_candidates_top1_finite")),
        sa.ForeignKeyConstraint(["arch_id"], ["architectures.arch_id"], name=op.f("fk_candidates_arch_id")),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_candidates_search_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_candidates")),
        sa.UniqueConstraint("search_id", "arch_id", name=op.f("uq_candidates_search_id_arch_id")),
        sa.UniqueConstraint("search_id", "seq", name=op.f("uq_candidates_search_id_seq")),
    )
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_candidates_arch_id"), ["arch_id"], unique=False)
        batch_op.create_index("ix_candidates_search_id_state", ["search_id", "state"], unique=False)

    op.create_table(
        "checkpoints",
        sa.Column("search_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("code_version", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_checkpoints_search_id")),
        sa.PrimaryKeyConstraint("search_id", "seq", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "awaited_evaluations",
        sa.Column("candidate_id", sa.String(length=40), nullable=False),
        sa.Column("metric", sa.String(length=200), nullable=False),
        sa.Column("search_id", sa.String(length=40), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("supernet_version_id", sa.String(length=40), nullable=True),
        sa.Column("latency_key", sa.String(length=64), nullable=True),
        sa.Column("hardware_key", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["candidate_id"], ["candidates.id"], name=op.f("fk_awaited_evaluations_candidate_id")),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_awaited_evaluations_search_id")),
        sa.PrimaryKeyConstraint("candidate_id", "metric", name=op.f("pk_awaited_evaluations")),
    )
    with op.batch_alter_table("awaited_evaluations", schema=None) as batch_op:
        batch_op.create_index(
            "ix_awaited_evaluations_latency_key_hardware_key", ["latency_key", "hardware_key"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_awaited_evaluations_search_id"), ["search_id"], unique=False)

    op.create_table(
        "evaluations",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("search_id", sa.String(length=40), nullable=False),
        sa.Column("candidate_id", sa.String(length=40), nullable=False),
        sa.Column("metric", sa.String(length=200), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("uncertainty", sa.Double(), nullable=True),
        sa.Column("validity", sa.String(length=200), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("supernet_version_id", sa.String(length=40), nullable=True),
        sa.Column("measurement_id", sa.String(length=40), nullable=True),
        sa.Column("recorded_step", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "uncertainty >= -1.7e308 AND uncertainty <= 1.7e308", name=op.f("ck_evaluations_uncertainty_finite")
        ),
        sa.CheckConstraint("value >= -1.7e308 AND value <= 1.7e308", name=op.f("ck_evaluations_value_finite")),
        sa.ForeignKeyConstraint(["candidate_id"], ["candidates.id"], name=op.f("fk_evaluations_candidate_id")),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_evaluations_search_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
        sa.UniqueConstraint(
            "candidate_id", "metric", "attempt", name=op.f("uq_evaluations_candidate_id_metric_attempt")
        ),
    )
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.create_index("ix_evaluations_search_id_recorded_step", ["search_id", "recorded_step"], unique=False)

    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=True),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("target_device_type", sa.String(length=200), nullable=True),
        sa.Column("target_pool_key", sa.String(length=64), nullable=True),
        sa.Column("target_device_id", sa.String(length=40), nullable=True),
        sa.Column("target_labels", JSON, nullable=False),
        sa.Column("search_id", sa.String(length=40), nullable=True),
        sa.Column("candidate_id", sa.String(length=40), nullable=True),
        sa.Column("supernet_id", sa.String(length=40), nullable=True),
        sa.Column("latency_key", sa.String(length=64), nullable=True),
        sa.Column("hardware_key", sa.String(length=64), nullable=True),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("max_attempts", sa.BigInteger(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(length=40), nullable=True),
        sa.Column("lease_id", sa.String(length=40), nullable=True),
        sa.Column("lease_epoch", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires_at", sa.BigInteger(), nullable=True),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("phase", sa.String(length=200), nullable=True),
        sa.Column("failure_type", sa.String(length=200), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=False),
        sa.Column("result", JSON, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["candidate_id"], ["candidates.id"], name=op.f("fk_jobs_candidate_id")),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_jobs_search_id")),
        sa.ForeignKeyConstraint(["supernet_id"], ["supernets.id"], name=op.f("fk_jobs_supernet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("ix_jobs_latency_key_hardware_key", ["latency_key", "hardware_key"], unique=False)
        batch_op.create_index("ix_jobs_queue", ["state", "kind", "priority", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_lease_owner"), ["lease_owner"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_search_id"), ["search_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_jobs_supernet_id"), ["supernet_id"], unique=False)
        batch_op.create_index(
            "uq_jobs_active_dedupe_key",
            ["dedupe_key"],
            unique=True,
            sqlite_where=sa.text("state IN ('queued', 'leased') AND dedupe_key IS NOT NULL"),
            postgresql_where=sa.text("state IN ('queued', 'leased') AND dedupe_key IS NOT NULL"),
        )

    op.create_table(
        "job_exclusions",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("owner", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_exclusions_job_id")),
        sa.PrimaryKeyConstraint("job_id", "owner", name=op.f("pk_job_exclusions")),
    )
    op.create_table(
        "leases",
        sa.Column("lease_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("lease_epoch", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(length=40), nullable=False),
        sa.Column("device_id", sa.String(length=40), nullable=True),
        sa.Column("claimed_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(length=200), nullable=True),
        sa.Column("failure_type", sa.String(length=200), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=False),
        sa.Column("result_digest", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_leases_job_id")),
        sa.PrimaryKeyConstraint("lease_id", name=op.f("pk_leases")),
        sa.UniqueConstraint("job_id", "lease_epoch", name=op.f("uq_leases_job_id_lease_epoch")),
    )
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_leases_device_id"), ["device_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_leases_job_id"), ["job_id"], unique=False)


def downgrade() -> None:
    """Back to the revision before."""
    with op.batch_alter_table("leases", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_leases_job_id"))
        batch_op.drop_index(batch_op.f("ix_leases_device_id"))

    op.drop_table("leases")
    op.drop_table("job_exclusions")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_jobs_active_dedupe_key",
            sqlite_where=sa.text("state IN ('queued', 'leased') AND dedupe_key IS NOT NULL"),
            postgresql_where=sa.text("state IN ('queued', 'leased') AND dedupe_key IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_jobs_supernet_id"))
        batch_op.drop_index(batch_op.f("ix_jobs_search_id"))
        batch_op.drop_index(batch_op.f("ix_jobs_lease_owner"))
        batch_op.drop_index("ix_jobs_queue")
        batch_op.drop_index("ix_jobs_latency_key_hardware_key")

    op.drop_table("jobs")
    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.drop_index("ix_evaluations_search_id_recorded_step")

    op.drop_table("evaluations")
    with op.batch_alter_table("awaited_evaluations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_awaited_evaluations_search_id"))
        batch_op.drop_index("ix_awaited_evaluations_latency_key_hardware_key")

    op.drop_table("awaited_evaluations")
    op.drop_table("checkpoints")
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        batch_op.drop_index("ix_candidates_search_id_state")
        batch_op.drop_index(batch_op.f("ix_candidates_arch_id"))

    op.drop_table("candidates")
    op.drop_table("supernet_versions")
    with op.batch_alter_table("searches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_searches_supernet_id"))
        batch_op.drop_index(batch_op.f("ix_searches_state"))

    op.drop_table("searches")
    with op.batch_alter_table("measurements", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_measurements_search_id"))
        batch_op.drop_index("ix_measurements_latency_key_hardware_key")
        batch_op.drop_index("ix_measurements_device_type_id")
        batch_op.drop_index("ix_measurements_device_id_created_at")
        batch_op.drop_index(batch_op.f("ix_measurements_arch_id"))

    op.drop_table("measurements")
    with op.batch_alter_table("canaries", schema=None) as batch_op:
        batch_op.drop_index("ix_canaries_device_id_id")

    op.drop_table("canaries")
    with op.batch_alter_table("supernets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_supernets_state"))

    op.drop_table("supernets")
    with op.batch_alter_table("model_exports", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_model_exports_latency_key"))
        batch_op.drop_index(batch_op.f("ix_model_exports_arch_id"))

    op.drop_table("model_exports")
    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.drop_index("ix_labels_key_value")

    op.drop_table("labels")
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotency_keys_created_at"))

    op.drop_table("idempotency_keys")
    op.drop_table("hardware")
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index("ix_events_supernet_id_id")
        batch_op.drop_index("ix_events_search_id_id")
        batch_op.drop_index("ix_events_device_id_id")
        batch_op.drop_index(batch_op.f("ix_events_created_at"))

    op.drop_table("events")
    op.drop_table("enrolment_tokens")
    with op.batch_alter_table("devices", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_devices_device_type"))

    op.drop_table("devices")
    with op.batch_alter_table("artifacts", schema=None) as batch_op:
        batch_op.drop_index("ix_artifacts_created_at_sha256")

    op.drop_table("artifacts")
    with op.batch_alter_table("architectures", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_architectures_space_id"))

    op.drop_table("architectures")
    op.drop_table("api_tokens")
