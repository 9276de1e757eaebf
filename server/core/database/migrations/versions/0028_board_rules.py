"""Who may use a board, when, and how much of a day; what a board did of late is found by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0028_board_rules"
down_revision = "0027_boards"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    # Without rules everybody uses a board, as before.
    op.add_column("devices", sa.Column("rules", JSON, nullable=True))
    op.drop_index("ix_leases_device_id", table_name="leases")
    op.create_index("ix_leases_device_id", "leases", ["device_id", "ended_at"])


def downgrade() -> None:
    """Back to the revision before: everybody uses every board."""
    op.drop_index("ix_leases_device_id", table_name="leases")
    op.create_index("ix_leases_device_id", "leases", ["device_id"])
    op.drop_column("devices", "rules")
