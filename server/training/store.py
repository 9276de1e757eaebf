"""Tables of supernets and their versions, their store, and what it shares with that of networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any, ClassVar, Generic, TypedDict, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nas_engine.settings.training import NetworkSpec, TrainingSpec
from server.access.store import OWNER, OWNER_PATH, owned_by, owner_column
from server.candidates.states import DesiredState
from server.core.database.labels import with_labels, with_words
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store, count_of, where_given
from server.core.database.types import Digest, EnumText, Id, Json, JsonOf, Label, Timestamp
from server.core.errors import ConflictError
from server.core.paging import Page, PageRequest
from server.training.spec import parse_training_spec
from server.training.supernet import Supernet, SupernetVersion
from server.training.training import Training, TrainingProgress, TrainingQuery, TrainingState

T = TypeVar("T", bound=Training)

TRAINING_PATHS = {"space_id": "spec.space.id", "dataset": "spec.dataset", **OWNER_PATH}


def training_columns(spec: JsonOf) -> tuple[sa.Column[Any], ...]:
    """The columns of whatever is trained."""
    return (
        sa.Column("id", Id, primary_key=True),
        sa.Column("spec", spec, nullable=False),
        sa.Column("space_id", Label, nullable=False),
        sa.Column("dataset", Label, nullable=False),
        sa.Column("state", EnumText(TrainingState), nullable=False, index=True),
        sa.Column("desired_state", EnumText(DesiredState), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("progress", JsonOf(TrainingProgress), nullable=False),
        sa.Column("resume_artifact_sha256", Digest),
        sa.Column("resume_step", sa.BigInteger, nullable=False),
        sa.Column("created_by", Id),
        owner_column(),
        sa.Column("created_at", Timestamp, nullable=False),
        sa.Column("finished_at", Timestamp),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("words", sa.Text),
    )


supernets = sa.Table(
    "supernets",
    metadata,
    *training_columns(JsonOf(TrainingSpec, load=parse_training_spec)),
    sa.Column("latest_version_id", Id),
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


SUPERNETS = Rows(Supernet, supernets, paths=TRAINING_PATHS, joined=OWNER)
SUPERNET_VERSIONS = Rows(SupernetVersion, supernet_versions)


class Reference(TypedDict, total=False):
    """What jobs and events are for."""

    supernet_id: str
    network_id: str


class TrainingStore(Store, ABC, Generic[T]):
    """Supernets, or networks, as rows; the spec and the progress are JSON.

    Attributes:
        noun: what one is called in messages.
    """

    noun: ClassVar[str]
    rows: ClassVar[Rows[Any]]

    @abstractmethod
    def reference(self, id: str) -> Reference:
        """How jobs and events name one."""

    def add_training(self, training: T) -> None:
        """Store a new one."""
        self._insert(self.rows, training)
        spec: TrainingSpec | NetworkSpec = training.spec  # type: ignore[attr-defined]  # each kind has its own
        self._put_labels(training.id, spec.labels)

    def find_training(self, id: str) -> T | None:
        """Look one up by its id; None where there is no such one."""
        found: T | None = self._first(self.rows, self.rows.select(self.rows.table.c.id == id))
        return found

    def get_training(self, id: str) -> T:
        """Read one by its id. Raises NotFoundError."""
        found: T = self._one(self.rows, self.rows.select(self.rows.table.c.id == id), self.noun, id)
        return found

    def lock_training(self, id: str) -> T:
        """Read one and hold it until the transaction ends."""
        table = self.rows.table
        found: T = self._one(self.rows, self.rows.select(table.c.id == id).with_for_update(of=table), self.noun, id)
        return found

    def save_training(self, training: T) -> T:
        """Write a locked one with its version one higher."""
        saved: T = self._save(self.rows, training)
        return saved

    def page_of_trainings(self, query: TrainingQuery, page: PageRequest) -> Page[T]:
        """List those that a query selects, newest first."""
        return self._page(self.rows, self._filtered(query), page, id_column=self.rows.table.c.id, descending=True)

    def count_trainings(self, query: TrainingQuery) -> int:
        """How many `page_of_trainings` would list in all."""
        return count_of(self._connection, self._filtered(query))

    def num_open_of(self, owner_id: str) -> int:
        """How many of an owner's are not over."""
        c = self.rows.table.c
        going_on = c.state.in_([state for state in TrainingState if not state.final])
        return count_of(self._connection, sa.select(c.id).where(c.owner_id == owner_id, going_on))

    def num_made_since(self, owner_id: str, since: datetime) -> int:
        """How many of an owner's were made after a time."""
        c = self.rows.table.c
        return count_of(self._connection, sa.select(c.id).where(c.owner_id == owner_id, c.created_at > since))

    def _filtered(self, query: TrainingQuery) -> sa.Select[Any]:
        c = self.rows.table.c
        wanted = where_given(
            self.rows.select(), {c.state: query.states, c.space_id: query.space_id, c.dataset: query.dataset}
        )
        labelled = with_labels(owned_by(wanted, c.owner_id, query.owner), c.id, query.labels)
        return with_words(labelled, query.words, c.words, c.state)


class SupernetStore(TrainingStore[Supernet]):
    """Supernets and the versions of their weights."""

    noun = "supernet"
    rows = SUPERNETS

    def reference(self, id: str) -> Reference:
        """How jobs and events name one."""
        return Reference(supernet_id=id)

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
