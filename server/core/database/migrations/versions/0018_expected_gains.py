"""Candidates carry the hypervolume that they were expected to add when they were asked; those of before have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018_expected_gains"
down_revision = "0017_workers"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without a check that it is finite, which the value itself makes: SQLite would rebuild the largest table for it.
    op.add_column("candidates", sa.Column("expected_gain", sa.Double(), nullable=True))
    op.add_column(
        "candidates",
        sa.Column("expected_gain_reason", sa.Text(), nullable=False, server_default="asked by an earlier version"),
    )


def downgrade() -> None:
    """Back to the revision before: nothing is expected of candidates."""
    op.drop_column("candidates", "expected_gain_reason")
    op.drop_column("candidates", "expected_gain")
