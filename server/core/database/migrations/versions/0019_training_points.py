"""Learning curves are kept: what trainings reported, a row a report."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019_training_points"
down_revision = "0018_expected_gains"
branch_labels = None
depends_on = None

NUMBERS = ("loss", "top1", "learning_rate", "images_per_s")


def upgrade() -> None:
    op.create_table(
        "training_points",
        sa.Column("trained_id", sa.String(length=40), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=True) for name in NUMBERS),
        sa.Column("at", sa.BigInteger(), nullable=False),
        *(
            sa.CheckConstraint(
                f"{name} >= -1.7e308 AND {name} <= 1.7e308", name=op.f(f"ck_training_points_{name}_finite")
            )
            for name in NUMBERS
        ),
        sa.PrimaryKeyConstraint("trained_id", "step", name=op.f("pk_training_points")),
    )


def downgrade() -> None:
    """Back to the revision before: curves are lost, the last report of each training stays."""
    op.drop_table("training_points")
