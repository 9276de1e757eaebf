"""Which call of a runtime gave the accelerator's own time of a measurement."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006_npu_time_source"
down_revision = "0005_ranking"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("measurements", sa.Column("npu_time_source", sa.String(length=200), nullable=True))


def downgrade() -> None:
    """Back to the revision before."""
    with op.batch_alter_table("measurements", schema=None) as batch_op:
        batch_op.drop_column("npu_time_source")
