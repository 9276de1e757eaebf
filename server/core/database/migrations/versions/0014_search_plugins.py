"""Searches say which packages, and which versions of them, they use beside hilnas itself; those of before use none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014_search_plugins"
down_revision = "0013_metrics_as_rows"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    # With its default: SQLite would rebuild the table to drop it afterwards.
    op.add_column("searches", sa.Column("plugins", JSON, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Back to the revision before."""
    op.drop_column("searches", "plugins")
