"""Predictors of latency, how far measurements were counted for them, and an index of what is measured by hardware."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022_latency_predictors"
down_revision = "0021_turns"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "latency_predictors",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("device_type", sa.String(length=200), nullable=False),
        sa.Column("hardware_key", sa.String(length=64), nullable=False),
        sa.Column("space_id", sa.String(length=200), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("space_key", sa.String(length=64), nullable=False),
        sa.Column("num_seen", sa.BigInteger(), nullable=False),
        sa.Column("num_seen_at_fit", sa.BigInteger(), nullable=False),
        sa.Column("num_fitted", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("artifact_sha256", sa.String(length=64)),
        sa.Column("quality", JSON),
        sa.Column("newest_measurement_id", sa.String(length=40)),
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("fitted_at", sa.BigInteger()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["hardware_key"], ["hardware.hardware_key"], name=op.f("fk_latency_predictors_hardware_key")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_latency_predictors")),
        sa.UniqueConstraint(
            "device_type",
            "space_key",
            "hardware_key",
            name=op.f("uq_latency_predictors_device_type_space_key_hardware_key"),
        ),
    )
    op.create_table(
        "latency_predictor_progress",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("measurement_id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_latency_predictor_progress")),
    )
    op.create_index("ix_measurements_hardware_key_id", "measurements", ["hardware_key", "id"])


def downgrade() -> None:
    """Back to the revision before: nothing is estimated without a board."""
    op.drop_index("ix_measurements_hardware_key_id", table_name="measurements")
    op.drop_table("latency_predictor_progress")
    op.drop_table("latency_predictors")
