"""Add classifications: predictions of devices for image sets, and the top-1 they give."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003_classifications"
down_revision = "0002_farm"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "classifications",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("images_sha256", sa.String(length=64), nullable=False),
        sa.Column("num_images", sa.BigInteger(), nullable=False),
        sa.Column("num_classes", sa.BigInteger(), nullable=False),
        sa.Column("num_correct", sa.BigInteger(), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("source_sha256", sa.String(length=64), nullable=False),
        sa.Column("dtype", sa.String(length=200), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("hardware_key", sa.String(length=64), nullable=True),
        sa.Column("device_type", sa.String(length=200), nullable=True),
        sa.Column("device_id", sa.String(length=40), nullable=True),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("lease_id", sa.String(length=40), nullable=True),
        sa.Column("search_id", sa.String(length=40), nullable=True),
        sa.Column("candidate_id", sa.String(length=40), nullable=True),
        sa.Column("arch_id", sa.String(length=64), nullable=True),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("predictions", sa.LargeBinary(), nullable=False),
        sa.Column("reference_id", sa.String(length=40), nullable=True),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("loss_standard_error", sa.Double(), nullable=True),
        sa.Column("agreement", sa.Double(), nullable=True),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.Column("environment", JSON, nullable=True),
        sa.Column("result_digest", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("loss >= -1.7e308 AND loss <= 1.7e308", name=op.f("ck_classifications_loss_finite")),
        sa.CheckConstraint(
            "loss_standard_error >= -1.7e308 AND loss_standard_error <= 1.7e308",
            name=op.f("ck_classifications_loss_standard_error_finite"),
        ),
        sa.CheckConstraint(
            "agreement >= -1.7e308 AND agreement <= 1.7e308", name=op.f("ck_classifications_agreement_finite")
        ),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_classifications_device_id")),
        sa.ForeignKeyConstraint(
            ["hardware_key"], ["hardware.hardware_key"], name=op.f("fk_classifications_hardware_key")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classifications")),
        sa.UniqueConstraint("lease_id", name=op.f("uq_classifications_lease_id")),
    )
    with op.batch_alter_table("classifications", schema=None) as batch_op:
        for column in ("candidate_id", "device_id", "search_id"):
            batch_op.create_index(batch_op.f(f"ix_classifications_{column}"), [column], unique=False)
        batch_op.create_index(
            "ix_classifications_source_sha256_images_sha256", ["source_sha256", "images_sha256"], unique=False
        )
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        batch_op.add_column(sa.Column("device_top1", sa.Double(), nullable=True))
        batch_op.create_check_constraint(
            batch_op.f("ck_candidates_device_top1_finite"), "device_top1 >= -1.7e308 AND device_top1 <= 1.7e308"
        )


def downgrade() -> None:
    """Back to the revision before."""
    with op.batch_alter_table("candidates", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("ck_candidates_device_top1_finite"), type_="check")
        batch_op.drop_column("device_top1")
    op.drop_table("classifications")
