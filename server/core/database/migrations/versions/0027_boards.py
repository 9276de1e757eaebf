"""Further boards of searches: what latencies on each are filed under, and what no candidate needs to be complete."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027_boards"
down_revision = "0026_shares"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("searches", sa.Column("board_hardware_keys", JSON, nullable=False, server_default="{}"))
    op.add_column("candidates", sa.Column("latency_keys", JSON, nullable=False, server_default="{}"))
    op.add_column("awaited_evaluations", sa.Column("is_needed", sa.Boolean(), nullable=False, server_default=sa.true()))


def downgrade() -> None:
    """Back to the revision before: searches know nothing of what is filed under their further boards, and wait for
    everything that is awaited.
    """
    op.execute(sa.text("DELETE FROM awaited_evaluations WHERE NOT is_needed"))
    op.drop_column("awaited_evaluations", "is_needed")
    op.drop_column("candidates", "latency_keys")
    op.drop_column("searches", "board_hardware_keys")
