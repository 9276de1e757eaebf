"""Fronts of searches on boards that they were not measured on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0025_what_ifs"
down_revision = "0024_changes"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "what_ifs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("search_id", sa.String(length=40), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("hardware_key", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("chosen", JSON, nullable=False),
        sa.Column("artifact_sha256", sa.String(length=64)),
        sa.Column("quality", JSON),
        sa.Column("num_fitted", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=40)),
        sa.Column("owner_id", sa.String(length=40)),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_what_ifs_search_id")),
        sa.ForeignKeyConstraint(["hardware_key"], ["hardware.hardware_key"], name=op.f("fk_what_ifs_hardware_key")),
        sa.ForeignKeyConstraint(["owner_id"], ["principals.id"], name=op.f("fk_what_ifs_owner_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_what_ifs")),
    )
    op.create_index("ix_what_ifs_search_id", "what_ifs", ["search_id"])
    op.create_index("ix_what_ifs_state", "what_ifs", ["state"])


def downgrade() -> None:
    """Back to the revision before: no front is carried over to another board."""
    op.drop_index("ix_what_ifs_state", table_name="what_ifs")
    op.drop_index("ix_what_ifs_search_id", table_name="what_ifs")
    op.drop_table("what_ifs")
