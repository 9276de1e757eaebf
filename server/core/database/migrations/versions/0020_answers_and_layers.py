"""Which images an accuracy got right, and how long each layer of a measured network takes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020_answers_and_layers"
down_revision = "0019_training_points"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "evaluation_answers",
        sa.Column("evaluation_id", sa.String(length=40), nullable=False),
        sa.Column("num_images", sa.BigInteger(), nullable=False),
        sa.Column("labels_sha256", sa.String(length=64), nullable=False),
        sa.Column("bits", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluations.id"], name=op.f("fk_evaluation_answers_evaluation_id")
        ),
        sa.PrimaryKeyConstraint("evaluation_id", name=op.f("pk_evaluation_answers")),
    )
    op.create_table(
        "measurement_layers",
        sa.Column("measurement_id", sa.String(length=40), nullable=False),
        sa.Column("profile", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["measurement_id"], ["measurements.id"], name=op.f("fk_measurement_layers_measurement_id")
        ),
        sa.PrimaryKeyConstraint("measurement_id", name=op.f("pk_measurement_layers")),
    )


def downgrade() -> None:
    """Back to the revision before: differences of accuracy are those of independent values, layers are not timed."""
    op.drop_table("measurement_layers")
    op.drop_table("evaluation_answers")
