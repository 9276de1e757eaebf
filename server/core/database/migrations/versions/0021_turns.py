"""Owners take turns in the queue: a job knows its owner's place in line, and the queue is read in that order."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021_turns"
down_revision = "0020_answers_and_layers"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What waits already is given in the order it had: turn 0 for all of it, oldest first.
    op.add_column("jobs", sa.Column("turn", sa.BigInteger(), nullable=False, server_default="0"))
    op.drop_index("ix_jobs_queue", table_name="jobs")
    op.create_index("ix_jobs_queue", "jobs", ["state", "kind", sa.text("priority DESC"), "turn", "id"], unique=False)
    op.drop_index("ix_jobs_owner_id", table_name="jobs")
    op.create_index("ix_jobs_owner_id", "jobs", ["owner_id", "state", "kind", "priority", "turn"], unique=False)


def downgrade() -> None:
    """Back to the revision before: within one priority the oldest is first, whose it may be."""
    op.drop_index("ix_jobs_owner_id", table_name="jobs")
    op.create_index("ix_jobs_owner_id", "jobs", ["owner_id"], unique=False)
    op.drop_index("ix_jobs_queue", table_name="jobs")
    op.create_index("ix_jobs_queue", "jobs", ["state", "kind", sa.text("priority DESC"), "id"], unique=False)
    op.drop_column("jobs", "turn")
