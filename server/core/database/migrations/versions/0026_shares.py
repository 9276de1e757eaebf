"""Owners have weights, turns are parts of one, and what a person orders alone has a lane of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026_shares"
down_revision = "0025_what_ifs"
branch_labels = None
depends_on = None

_LINE = ["kind", "priority", "interactive", "target_device_type"]
_TURN = 1_000_000  # as server.jobs.shares.turns says
_WAITING = sa.text("state = 'queued'")


def upgrade() -> None:
    op.add_column("principals", sa.Column("weight", sa.Double(), nullable=False, server_default="1"))
    op.add_column("jobs", sa.Column("interactive", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_index("ix_jobs_queue", table_name="jobs")
    op.drop_index("ix_jobs_owner_id", table_name="jobs")
    # The order of what waits stays; turns of what is over are read by nobody.
    op.execute(f"UPDATE jobs SET turn = turn * {_TURN} WHERE state IN ('queued', 'leased')")
    op.create_index(
        "ix_jobs_queue",
        "jobs",
        ["state", "kind", sa.text("priority DESC"), sa.text("interactive DESC"), "turn", "id"],
        unique=False,
    )
    op.create_index("ix_jobs_owner_id", "jobs", ["owner_id", "state", *_LINE, "turn"], unique=False)
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        [*_LINE, "target_pool_key", "turn", "id"],
        unique=False,
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    )
    op.create_index("ix_leases_owner", "leases", ["owner", "lease_id"], unique=False)


def downgrade() -> None:
    """Back to the revision before: one lane, and all owners alike."""
    op.drop_index("ix_leases_owner", table_name="leases")
    op.drop_index("ix_jobs_waiting", table_name="jobs")
    op.drop_index("ix_jobs_owner_id", table_name="jobs")
    op.drop_index("ix_jobs_queue", table_name="jobs")
    op.execute(f"UPDATE jobs SET turn = turn / {_TURN} WHERE state IN ('queued', 'leased')")
    op.create_index("ix_jobs_queue", "jobs", ["state", "kind", sa.text("priority DESC"), "turn", "id"], unique=False)
    op.create_index("ix_jobs_owner_id", "jobs", ["owner_id", "state", "kind", "priority", "turn"], unique=False)
    op.drop_column("jobs", "interactive")
    op.drop_column("principals", "weight")
