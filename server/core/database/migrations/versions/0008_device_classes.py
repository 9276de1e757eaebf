"""Enrolment tokens name a class and a type; devices say who vouches for their class.

Tokens that are there let in emulated devices. Devices that are there go on as what they said they are, marked
`declared`, except that one whose runtime only simulates is nothing but simulated.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008_device_classes"
down_revision = "0007_latency_tables"
branch_labels = None
depends_on = None

SIMULATORS = ("fake", "rk3588-sim")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
DEVICES = sa.table(
    "devices",
    sa.column("id"),
    sa.column("enrolled_at"),
    sa.column("capabilities", JSON),
    sa.column("class_limit"),
    sa.column("class_reason"),
    sa.column("identity_since"),
)
TEXT = sa.String(length=200)
ADDED: tuple[tuple[str, sa.types.TypeEngine[Any], str | sa.TextClause], ...] = (
    ("class_limit", TEXT, "emulated"),
    ("class_source", TEXT, "declared"),
    ("class_reason", sa.Text(), sa.text("''")),
    ("identity_since", sa.BigInteger(), "0"),
)
"""Columns of devices with the value that rows begin with."""


def upgrade() -> None:
    # Columns are added as they are, with their defaults: SQLite would rebuild the table to change them afterwards, and
    # cannot while other tables point to it.
    op.add_column("enrolment_tokens", sa.Column("device_class", TEXT, nullable=False, server_default="emulated"))
    op.add_column("enrolment_tokens", sa.Column("device_type", TEXT, nullable=True))
    for name, type, value in ADDED:
        op.add_column("devices", sa.Column(name, type, nullable=False, server_default=value))
    op.add_column("devices", sa.Column("enrolment_token_id", sa.String(length=40), nullable=True))
    _fill_in(op.get_bind())


def downgrade() -> None:
    """Back to the revision before."""
    for name in ("enrolment_token_id", *(name for name, _, _ in reversed(ADDED))):
        op.drop_column("devices", name)
    op.drop_column("enrolment_tokens", "device_type")
    op.drop_column("enrolment_tokens", "device_class")


def _fill_in(connection: sa.Connection) -> None:
    """Take the class from what each device said last; a board by its own word is a simulator where its runtime is."""
    for device in connection.execute(sa.select(DEVICES.c.id, DEVICES.c.enrolled_at, DEVICES.c.capabilities)).all():
        identity = device.capabilities["identity"]
        said, runtime = identity["device_class"], identity["runtime"].casefold()
        values: dict[str, Any] = {"class_limit": said, "identity_since": device.enrolled_at}
        if said != "simulated" and (runtime in SIMULATORS or runtime.endswith("-sim")):
            why = f"its runtime {identity['runtime']!r} computes its times"
            values |= {
                "class_limit": "simulated",
                "class_reason": f"counts as simulated, not as {said}: {why}",
                "capabilities": {**device.capabilities, "identity": {**identity, "device_class": "simulated"}},
            }
        connection.execute(sa.update(DEVICES).where(DEVICES.c.id == device.id).values(values))
