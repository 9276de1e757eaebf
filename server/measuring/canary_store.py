"""The table of canary runs and its store."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from server.core.database.keyset import fetch_page
from server.core.database.metadata import metadata
from server.core.database.store import Store
from server.core.database.types import Digest, Id, Timestamp, finite
from server.core.paging import Page, PageRequest
from server.measuring.canary import CanaryRecord

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


def canary_from_row(row: sa.Row[Any]) -> CanaryRecord:
    """A canary run as a value."""
    return CanaryRecord(
        id=row.id,
        device_id=row.device_id,
        artifact_sha256=row.artifact_sha256,
        median_us=row.median_us,
        ratio=row.ratio,
        passed=row.passed,
        reason=row.reason,
        taken_at=row.taken_at,
        pool_key=row.pool_key,
        output_digest=row.output_digest,
        instance_epoch=row.instance_epoch,
    )


class CanaryStore(Store):
    """Runs of the golden model as rows."""

    def add(self, canary: CanaryRecord) -> None:
        """Store one canary run."""
        self._connection.execute(sa.insert(canaries).values(asdict(canary)))

    def page_of_device(self, device_id: str, page: PageRequest) -> Page[CanaryRecord]:
        """Canary runs of a device, newest first."""
        return fetch_page(
            self._connection,
            sa.select(canaries).where(canaries.c.device_id == device_id),
            page,
            id_column=canaries.c.id,
            from_row=canary_from_row,
            descending=True,
        )

    def last_good(self, device_id: str) -> CanaryRecord | None:
        """The newest that passed."""
        return self._newest(canaries.c.device_id == device_id, canaries.c.passed.is_(True))

    def last_under(self, device_id: str, pool_key: str, artifact_sha256: str, *, passed: bool) -> CanaryRecord | None:
        """The newest of this model under this pool key; with `passed`, of those that did."""
        conditions = [
            canaries.c.device_id == device_id,
            canaries.c.pool_key == pool_key,
            canaries.c.artifact_sha256 == artifact_sha256,
        ]
        if passed:
            conditions.append(canaries.c.passed.is_(True))
        return self._newest(*conditions)

    def _newest(self, *conditions: sa.ColumnElement[bool]) -> CanaryRecord | None:
        statement = sa.select(canaries).where(*conditions).order_by(canaries.c.id.desc()).limit(1)
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else canary_from_row(row)
