"""The queue's index in the order of claims, wake-ups by topic, and canaries per pool with their known answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_farm"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_jobs_queue", table_name="jobs")
    op.create_index("ix_jobs_queue", "jobs", ["state", "kind", sa.text("priority DESC"), "id"], unique=False)
    op.create_table(
        "wake_counts",
        sa.Column("topic", sa.String(length=200), nullable=False),
        sa.Column("num_wakes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", name=op.f("pk_wake_counts")),
    )
    with op.batch_alter_table("canaries", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pool_key", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("output_digest", sa.String(length=128), nullable=True))
        batch_op.add_column(sa.Column("instance_epoch", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    with op.batch_alter_table("canaries", schema=None) as batch_op:
        batch_op.alter_column("instance_epoch", server_default=None)


def downgrade() -> None:
    """Back to the revision before."""
    with op.batch_alter_table("canaries", schema=None) as batch_op:
        batch_op.drop_column("instance_epoch")
        batch_op.drop_column("output_digest")
        batch_op.drop_column("pool_key")
    op.drop_table("wake_counts")
    op.drop_index("ix_jobs_queue", table_name="jobs")
    op.create_index("ix_jobs_queue", "jobs", ["state", "kind", "priority", "id"], unique=False)
