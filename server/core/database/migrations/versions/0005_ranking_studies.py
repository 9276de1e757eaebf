"""Ranking studies, and events about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005_ranking"
down_revision = "0004_space_tables"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "ranking_studies",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("supernet_id", sa.String(length=40), nullable=False),
        sa.Column("supernet_version_id", sa.String(length=40), nullable=False),
        sa.Column("dataset", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("desired_state", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("num_entries", sa.BigInteger(), nullable=False),
        sa.Column("num_done", sa.BigInteger(), nullable=False),
        sa.Column("num_failed", sa.BigInteger(), nullable=False),
        sa.Column("result", JSON, nullable=True),
        sa.Column("created_by", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["supernet_id"], ["supernets.id"], name=op.f("fk_ranking_studies_supernet_id")),
        sa.ForeignKeyConstraint(
            ["supernet_version_id"], ["supernet_versions.id"], name=op.f("fk_ranking_studies_supernet_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ranking_studies")),
    )
    op.create_index(op.f("ix_ranking_studies_supernet_id"), "ranking_studies", ["supernet_id"], unique=False)
    op.create_index(op.f("ix_ranking_studies_state"), "ranking_studies", ["state"], unique=False)
    op.create_table(
        "ranking_entries",
        sa.Column("study_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("arch_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("shared_top1", sa.Double(), nullable=True),
        sa.Column("shared_images", sa.BigInteger(), nullable=True),
        sa.Column("alone_top1", sa.Double(), nullable=True),
        sa.Column("alone_images", sa.BigInteger(), nullable=True),
        sa.Column("progress", JSON, nullable=False),
        sa.Column("resume_artifact_sha256", sa.String(length=64), nullable=True),
        sa.Column("resume_step", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "alone_top1 >= -1.7e308 AND alone_top1 <= 1.7e308", name=op.f("ck_ranking_entries_alone_top1_finite")
        ),
        sa.CheckConstraint(
            "shared_top1 >= -1.7e308 AND shared_top1 <= 1.7e308", name=op.f("ck_ranking_entries_shared_top1_finite")
        ),
        sa.ForeignKeyConstraint(["arch_id"], ["architectures.arch_id"], name=op.f("fk_ranking_entries_arch_id")),
        sa.ForeignKeyConstraint(["study_id"], ["ranking_studies.id"], name=op.f("fk_ranking_entries_study_id")),
        sa.PrimaryKeyConstraint("study_id", "number", name=op.f("pk_ranking_entries")),
    )
    op.add_column("events", sa.Column("study_id", sa.String(length=40), nullable=True))
    op.create_index("ix_events_study_id_id", "events", ["study_id", "id"], unique=False)


def downgrade() -> None:
    """Back to the revision before."""
    op.drop_index("ix_events_study_id_id", table_name="events")
    op.drop_column("events", "study_id")
    op.drop_table("ranking_entries")
    op.drop_table("ranking_studies")
