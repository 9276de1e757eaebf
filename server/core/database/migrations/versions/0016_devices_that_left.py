"""When a device's agent said goodbye: it is offline from then on, not only after a time-out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016_devices_that_left"
down_revision = "0015_networks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("devices", sa.Column("left_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Back to the revision before: a device is offline once it was not heard of for long enough."""
    op.drop_column("devices", "left_at")
