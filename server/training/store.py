"""Tables of supernets and their versions, and their store."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nas_engine.settings.training import TrainingSpec
from server.access.store import OWNER, OWNER_PATH, owned_by, owner_column
from server.candidates.states import DesiredState
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store, count_of, where_given
from server.core.database.types import Digest, EnumText, Id, Json, JsonOf, Label, Timestamp
from server.core.errors import ConflictError
from server.core.paging import Page, PageRequest
from server.training.spec import parse_training_spec
from server.training.supernet import Supernet, SupernetQuery, SupernetState, SupernetVersion, TrainingProgress

supernets = sa.Table(
    "supernets",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("spec", JsonOf(TrainingSpec, load=parse_training_spec), nullable=False),
    sa.Column("space_id", Label, nullable=False),
    sa.Column("dataset", Label, nullable=False),
    sa.Column("state", EnumText(SupernetState), nullable=False, index=True),
    sa.Column("desired_state", EnumText(DesiredState), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("progress", JsonOf(TrainingProgress), nullable=False),
    sa.Column("latest_version_id", Id),
    sa.Column("resume_artifact_sha256", Digest),
    sa.Column("resume_step", sa.BigInteger, nullable=False),
    sa.Column("created_by", Id),
    owner_column(),
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


SUPERNETS = Rows(
    Supernet,
    supernets,
    paths={"space_id": "spec.space.id", "dataset": "spec.dataset", **OWNER_PATH},
    joined=OWNER,
)
SUPERNET_VERSIONS = Rows(SupernetVersion, supernet_versions)


class SupernetStore(Store):
    """Supernets as rows; the spec and the progress are JSON."""

    def add_supernet(self, supernet: Supernet) -> None:
        """Store a new one."""
        self._insert(SUPERNETS, supernet)

    def get_supernet(self, supernet_id: str) -> Supernet:
        """Read a supernet by its id. Raises NotFoundError."""
        return self._one(SUPERNETS, SUPERNETS.select(supernets.c.id == supernet_id), "supernet", supernet_id)

    def lock_supernet(self, supernet_id: str) -> Supernet:
        """Read one and hold it until the transaction ends."""
        statement = SUPERNETS.select(supernets.c.id == supernet_id).with_for_update(of=supernets)
        return self._one(SUPERNETS, statement, "supernet", supernet_id)

    def save_supernet(self, supernet: Supernet) -> Supernet:
        """Write a locked one with its version one higher."""
        return self._save(SUPERNETS, supernet)

    def page_of_supernets(self, query: SupernetQuery, page: PageRequest) -> Page[Supernet]:
        """List the supernets that a query selects, newest first."""
        return self._page(SUPERNETS, _filtered(query), page, id_column=supernets.c.id, descending=True)

    def count_supernets(self, query: SupernetQuery) -> int:
        """How many `page` would list in all."""
        return count_of(self._connection, _filtered(query))

    def add_supernet_version(self, version: SupernetVersion) -> None:
        """Store weights; ConflictError where the supernet has a version with this number."""
        try:
            with self._connection.begin_nested():
                self._insert(SUPERNET_VERSIONS, version)
        except IntegrityError as error:
            raise ConflictError(
                f"supernet {version.supernet_id} has a version {version.number} already: another worker published it"
            ) from error

    def get_supernet_version(self, version_id: str) -> SupernetVersion:
        """Read a version by its id. Raises NotFoundError."""
        statement = SUPERNET_VERSIONS.select(supernet_versions.c.id == version_id)
        return self._one(SUPERNET_VERSIONS, statement, "supernet version", version_id)

    def versions_of_supernet(self, supernet_id: str) -> tuple[SupernetVersion, ...]:
        """Every version, oldest first."""
        of_supernet = SUPERNET_VERSIONS.select(supernet_versions.c.supernet_id == supernet_id)
        return self._list(SUPERNET_VERSIONS, of_supernet.order_by(supernet_versions.c.number))


def _filtered(query: SupernetQuery) -> sa.Select[Any]:
    c = supernets.c
    wanted = where_given(
        SUPERNETS.select(), {c.state: query.states, c.space_id: query.space_id, c.dataset: query.dataset}
    )
    return owned_by(wanted, c.owner_id, query.owner)
