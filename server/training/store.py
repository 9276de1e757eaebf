"""Tables of supernets and their versions, and their store."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from server.candidates.states import DesiredState
from server.core.database.keyset import fetch_page
from server.core.database.metadata import metadata
from server.core.database.store import Store, count_of
from server.core.database.types import Digest, Id, Json, Label, Timestamp
from server.core.errors import ConflictError
from server.core.paging import Page, PageRequest
from server.training.spec import parse_training_spec
from server.training.states import SupernetState
from server.training.supernet import Supernet, SupernetQuery, SupernetVersion, TrainingProgress

supernets = sa.Table(
    "supernets",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spec", Json, nullable=False),
    sa.Column("space_id", Label, nullable=False),
    sa.Column("dataset", Label, nullable=False),
    sa.Column("state", Label, nullable=False, index=True),
    sa.Column("desired_state", Label, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("progress", Json, nullable=False),
    sa.Column("latest_version_id", Id),
    sa.Column("resume_artifact_sha256", Digest),
    sa.Column("resume_step", sa.BigInteger, nullable=False),
    sa.Column("created_by", Id),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("finished_at", Timestamp),
    sa.Column("version", sa.BigInteger, nullable=False),
)


supernet_versions = sa.Table(
    "supernet_versions",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("supernet_id", Id, sa.ForeignKey("supernets.id"), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("weights_sha256", Digest, nullable=False),
    sa.Column("statistics", Json),
    sa.Column("search_id", Id),
    sa.Column("parent_id", Id),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("supernet_id", "number"),
)


_CONVERTED = ("spec", "space_id", "dataset", "state", "desired_state", "progress")


_SAME = tuple(column.name for column in supernets.c if column.name not in _CONVERTED)


class SupernetStore(Store):
    """Supernets as rows; the spec and the progress are JSON."""

    def add(self, supernet: Supernet) -> None:
        """Store a new one."""
        self._connection.execute(sa.insert(supernets).values(_row(supernet)))

    def get(self, supernet_id: str) -> Supernet:
        """Read one."""
        return _supernet(self._one(sa.select(supernets).where(supernets.c.id == supernet_id), "supernet", supernet_id))

    def lock(self, supernet_id: str) -> Supernet:
        """Read one and hold it until the transaction ends."""
        statement = sa.select(supernets).where(supernets.c.id == supernet_id).with_for_update()
        return _supernet(self._one(statement, "supernet", supernet_id))

    def save(self, supernet: Supernet) -> Supernet:
        """Write a locked one with its version one higher."""
        written = replace(supernet, version=supernet.version + 1)
        self._connection.execute(sa.update(supernets).where(supernets.c.id == supernet.id).values(_row(written)))
        return written

    def page(self, query: SupernetQuery, page: PageRequest) -> Page[Supernet]:
        """List, newest first."""
        return fetch_page(
            self._connection, _filtered(query), page, id_column=supernets.c.id, from_row=_supernet, descending=True
        )

    def count(self, query: SupernetQuery) -> int:
        """How many `page` would list in all."""
        return count_of(self._connection, _filtered(query))

    def add_version(self, version: SupernetVersion) -> None:
        """Store weights; ConflictError where the supernet has a version with this number."""
        try:
            with self._connection.begin_nested():
                self._connection.execute(sa.insert(supernet_versions).values(asdict(version)))
        except IntegrityError as error:
            raise ConflictError(
                f"supernet {version.supernet_id} has a version {version.number} already: another worker published it"
            ) from error

    def version(self, version_id: str) -> SupernetVersion:
        """Read one version."""
        statement = sa.select(supernet_versions).where(supernet_versions.c.id == version_id)
        return _version(self._one(statement, "supernet version", version_id))

    def versions(self, supernet_id: str) -> tuple[SupernetVersion, ...]:
        """Every version, oldest first."""
        statement = (
            sa.select(supernet_versions)
            .where(supernet_versions.c.supernet_id == supernet_id)
            .order_by(supernet_versions.c.number)
        )
        return tuple(_version(row) for row in self._connection.execute(statement))


def _filtered(query: SupernetQuery) -> sa.Select[Any]:
    statement = sa.select(supernets)
    if query.states:
        statement = statement.where(supernets.c.state.in_([state.value for state in query.states]))
    if query.space_id is not None:
        statement = statement.where(supernets.c.space_id == query.space_id)
    if query.dataset is not None:
        statement = statement.where(supernets.c.dataset == query.dataset)
    return statement


def _row(supernet: Supernet) -> dict[str, Any]:
    progress = supernet.progress
    return {
        **{name: getattr(supernet, name) for name in _SAME},
        "spec": supernet.spec.model_dump(mode="json"),
        "space_id": supernet.spec.space.id,
        "dataset": supernet.spec.dataset,
        "state": supernet.state.value,
        "desired_state": supernet.desired_state.value,
        "progress": {**asdict(progress), "metrics": dict(progress.metrics)},
    }


def _supernet(row: sa.Row[Any]) -> Supernet:
    return Supernet(
        **{name: getattr(row, name) for name in _SAME},
        spec=parse_training_spec(row.spec),
        state=SupernetState(row.state),
        desired_state=DesiredState(row.desired_state),
        progress=TrainingProgress(**row.progress),
    )


def _version(row: sa.Row[Any]) -> SupernetVersion:
    return SupernetVersion(
        id=row.id,
        supernet_id=row.supernet_id,
        number=row.number,
        weights_sha256=row.weights_sha256,
        statistics=row.statistics,
        search_id=row.search_id,
        parent_id=row.parent_id,
        created_at=row.created_at,
    )
