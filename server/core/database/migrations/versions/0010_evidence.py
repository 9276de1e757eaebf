"""Measurements say why they were rejected, and leases which canary was asked for.

Measurements whose origin does not hold become rejected evidence: what came in under no lease of its device and job, or
says another class or hardware than its device is enrolled as or its job asks for. Nothing is deleted. What a device of
another type than the asked one measured says so itself: it stays as it is, and is not reused.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010_evidence"
down_revision = "0009_owners"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
SUBMITTED = ("measured", "simulated")

measurements = sa.table(
    "measurements",
    *(sa.column(n) for n in ("id", "kind", "hardware_key", "device_class", "device_type", "device_id", "job_id")),
    sa.column("lease_id"),
    sa.column("latency_key"),
    sa.column("suspect", sa.Boolean()),
    sa.column("rejection"),
)
devices = sa.table("devices", sa.column("id"), sa.column("capabilities", JSON))
hardware = sa.table("hardware", sa.column("hardware_key"), sa.column("document", JSON))
leases = sa.table("leases", sa.column("lease_id"), sa.column("job_id"), sa.column("device_id"))
jobs = sa.table("jobs", *(sa.column(n) for n in ("id", "latency_key", "hardware_key")))


def upgrade() -> None:
    op.create_table(
        "canary_orders",
        sa.Column("lease_id", sa.String(length=40), nullable=False),
        sa.Column("artifact_sha256", sa.String(length=64), nullable=False),
        sa.Column("baseline_us", sa.Double(), nullable=True),
        sa.Column("output_digest", sa.String(length=128), nullable=False),
        sa.Column("tolerance", sa.Double(), nullable=True),
        sa.CheckConstraint(
            "baseline_us >= -1.7e308 AND baseline_us <= 1.7e308", name=op.f("ck_canary_orders_baseline_us_finite")
        ),
        sa.CheckConstraint(
            "tolerance >= -1.7e308 AND tolerance <= 1.7e308", name=op.f("ck_canary_orders_tolerance_finite")
        ),
        sa.PrimaryKeyConstraint("lease_id", name=op.f("pk_canary_orders")),
    )
    with op.batch_alter_table("measurements", schema=None) as batch_op:
        batch_op.add_column(sa.Column("rejection", sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("measurements", schema=None) as batch_op:
        batch_op.alter_column("rejection", server_default=None)
    _reject_what_does_not_hold(op.get_bind())


def downgrade() -> None:
    """Back to the revision before; rejected measurements stay suspect."""
    with op.batch_alter_table("measurements", schema=None) as batch_op:
        batch_op.drop_column("rejection")
    op.drop_table("canary_orders")


def _reject_what_does_not_hold(connection: sa.Connection) -> None:
    m, job = measurements.c, jobs.c
    leased = sa.exists().where(
        leases.c.lease_id == m.lease_id, leases.c.job_id == m.job_id, leases.c.device_id == m.device_id
    )
    asked = sa.exists().where(
        job.id == m.job_id,
        job.latency_key == m.latency_key,
        job.hardware_key == m.hardware_key,
    )
    _reject(connection, "no lease of its device and job brought it", ~leased)
    _reject(connection, "its job asks for another network or hardware key", ~asked)
    for device in connection.execute(sa.select(devices)):
        enrolled = device.capabilities["identity"]["device_class"]
        reason = f"its device is enrolled as {enrolled}, it says something else"
        _reject(connection, reason, m.device_id == device.id, m.device_class != enrolled)
        if enrolled == "simulated":
            _reject(
                connection, "a simulated device gave it as measured", m.device_id == device.id, m.kind == "measured"
            )
    for key in connection.execute(sa.select(hardware)):
        enrolled = key.document["device_class"]
        reason = f"its hardware key is of class {enrolled}, it says something else"
        _reject(connection, reason, m.hardware_key == key.hardware_key, m.device_class != enrolled)


def _reject(connection: sa.Connection, reason: str, *conditions: sa.ColumnElement[Any]) -> None:
    statement = sa.update(measurements).where(
        measurements.c.kind.in_(SUBMITTED), measurements.c.rejection == "", *conditions
    )
    connection.execute(statement.values(suspect=True, rejection=reason))
