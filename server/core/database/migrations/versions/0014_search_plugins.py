"""Searches say which packages, and which versions of them, they use beside hilnas itself; those of before use none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014_search_plugins"
down_revision = "0012_sessions_and_uploads"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("searches", sa.Column("plugins", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    """Back to the revision before."""
    op.drop_column("searches", "plugins")
