"""Predictors of latency that are made of latency tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0029_table_predictors"
down_revision = "0028_board_rules"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
GROUP = ("device_type", "space_key", "hardware_key")
ONE_OF_GROUP = "uq_latency_predictors_device_type_space_key_hardware_key"


def upgrade() -> None:
    with op.batch_alter_table("latency_predictors") as predictors:
        predictors.drop_constraint(op.f(ONE_OF_GROUP), type_="unique")
        predictors.add_column(sa.Column("table_id", sa.String(length=40)))
        predictors.add_column(sa.Column("standing", JSON))
        predictors.create_unique_constraint(op.f("uq_latency_predictors_table_id"), ["table_id"])
        predictors.create_foreign_key(op.f("fk_latency_predictors_table_id"), "latency_batches", ["table_id"], ["id"])
    of_architectures = sa.text("table_id IS NULL")
    op.create_index(
        "ix_latency_predictors_group",
        "latency_predictors",
        list(GROUP),
        unique=True,
        sqlite_where=of_architectures,
        postgresql_where=of_architectures,
    )


def downgrade() -> None:
    """Back to the revision before: tables estimate nothing."""
    op.drop_index("ix_latency_predictors_group", table_name="latency_predictors")
    op.execute("DELETE FROM latency_predictors WHERE table_id IS NOT NULL")
    with op.batch_alter_table("latency_predictors") as predictors:
        predictors.drop_constraint(op.f("fk_latency_predictors_table_id"), type_="foreignkey")
        predictors.drop_constraint(op.f("uq_latency_predictors_table_id"), type_="unique")
        predictors.drop_column("standing")
        predictors.drop_column("table_id")
        predictors.create_unique_constraint(op.f(ONE_OF_GROUP), list(GROUP))
