"""The tables of canary runs and of what was ordered, and their store."""

from __future__ import annotations

import sqlalchemy as sa

from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.statements import key_parameters
from server.core.database.store import Store
from server.core.database.types import Digest, Id, Timestamp, finite
from server.core.paging import Page, PageRequest
from server.measuring.canaries.canary import CanaryRecord, IssuedCanary

canaries = sa.Table(
    "canaries",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("device_id", Id, sa.ForeignKey("devices.id"), nullable=False),
    sa.Column("artifact_sha256", Digest, nullable=False),
    sa.Column("median_us", sa.Double, nullable=False),
    sa.Column("ratio", sa.Double),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("taken_at", Timestamp, nullable=False),
    sa.Column("pool_key", Digest),
    sa.Column("output_digest", sa.String(128)),
    sa.Column("instance_epoch", sa.BigInteger, nullable=False),
    sa.Index("ix_canaries_device_id_id", "device_id", "id"),
    finite("median_us"),
    finite("ratio"),
)


canary_orders = sa.Table(
    "canary_orders",
    metadata,
    sa.Column("lease_id", Id, primary_key=True),
    sa.Column("artifact_sha256", Digest, nullable=False),
    sa.Column("baseline_us", sa.Double),
    sa.Column("output_digest", sa.String(128), nullable=False),
    sa.Column("tolerance", sa.Double),
    finite("baseline_us"),
    finite("tolerance"),
)


CANARIES = Rows(CanaryRecord, canaries)
ORDERS = Rows(IssuedCanary, canary_orders)


_UNDER = CANARIES.by(canaries.c.device_id, canaries.c.pool_key, canaries.c.artifact_sha256)
_NEWEST = _UNDER.order_by(canaries.c.id.desc()).limit(1)
_NEWEST_GOOD = _NEWEST.where(canaries.c.passed.is_(True))


class CanaryStore(Store):
    """Runs of the golden model as rows."""

    def add_canary(self, canary: CanaryRecord) -> None:
        """Store one canary run."""
        self._insert(CANARIES, canary)

    def put_canary_order(self, order: IssuedCanary) -> None:
        """Remember what a lease was asked for; the first stays."""
        self._insert_ignore(canary_orders, [ORDERS.row_of(order)])

    def canary_order_of(self, lease_id: str) -> IssuedCanary | None:
        """What a lease was asked for; None where it was asked for no canary."""
        return self._find(ORDERS, canary_orders.c.lease_id, lease_id)

    def page_of_canaries(self, device_id: str, page: PageRequest) -> Page[CanaryRecord]:
        """Canary runs of a device, newest first."""
        statement = CANARIES.select(canaries.c.device_id == device_id)
        return self._page(CANARIES, statement, page, id_column=canaries.c.id, descending=True)

    def last_good_canary(self, device_id: str) -> CanaryRecord | None:
        """The newest that passed."""
        return self._newest(canaries.c.device_id == device_id, canaries.c.passed.is_(True))

    def last_canary_under(
        self, device_id: str, pool_key: str, artifact_sha256: str, *, passed: bool
    ) -> CanaryRecord | None:
        """The newest of this model under this pool key; with `passed`, of those that did."""
        statement = _NEWEST_GOOD if passed else _NEWEST
        return self._only(CANARIES, statement, key_parameters(device_id, pool_key, artifact_sha256))

    def _newest(self, *conditions: sa.ColumnElement[bool]) -> CanaryRecord | None:
        return self._first(CANARIES, CANARIES.select(*conditions).order_by(canaries.c.id.desc()).limit(1))
