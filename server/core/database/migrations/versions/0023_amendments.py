"""Amendments of searches, and what a search was cloned from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023_amendments"
down_revision = "0022_latency_predictors"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "search_amendments",
        sa.Column("search_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("step_seq", sa.BigInteger(), nullable=False),
        sa.Column("amended_at", sa.BigInteger(), nullable=False),
        sa.Column("token_id", sa.String(length=40)),
        sa.Column("principal_id", sa.String(length=40)),
        sa.Column("changes", JSON, nullable=False),
        sa.Column("changes_constraints", sa.Boolean(), nullable=False),
        sa.Column("spec_before", JSON, nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_search_amendments_search_id")),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], name=op.f("fk_search_amendments_principal_id")),
        sa.PrimaryKeyConstraint("search_id", "seq", name=op.f("pk_search_amendments")),
    )
    op.add_column("searches", sa.Column("cloned_from", sa.String(length=40)))


def downgrade() -> None:
    """Back to the revision before: amended specs stay as they are, who amended them is forgotten."""
    with op.batch_alter_table("searches") as searches:
        searches.drop_column("cloned_from")
    op.drop_table("search_amendments")
