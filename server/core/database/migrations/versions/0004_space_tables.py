"""Tables of results that are registered as search spaces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_space_tables"
down_revision = "0003_classifications"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "space_tables",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_space_tables")),
    )


def downgrade() -> None:
    """Back to the revision before."""
    op.drop_table("space_tables")
