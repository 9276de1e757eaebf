"""Tables of architectures and of result tables, and their stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from nas_engine.domain.architecture import Genotype
from server.access.store import OWNER, OWNER_PATH, owner_column
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store, count_of
from server.core.database.types import Digest, Id, JsonOf, Label, Timestamp
from server.spaces.architecture import ArchitectureRecord
from server.spaces.result_table import SpaceTable

space_tables = sa.Table(
    "space_tables",
    metadata,
    sa.Column("id", Label, primary_key=True),
    sa.Column("sha256", Digest, nullable=False),
    sa.Column("created_by", Id),
    owner_column(),
    sa.Column("created_at", Timestamp, nullable=False),
)


architectures = sa.Table(
    "architectures",
    metadata,
    sa.Column("arch_id", Digest, primary_key=True),
    sa.Column("space_id", Label, nullable=False, index=True),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("choices", sa.Text, nullable=False),
    sa.Column("genotype", JsonOf(Genotype)),
    # For reading with the architecture; what lists are sorted and filtered by are the rows of each search's candidates.
    sa.Column("values", JsonOf(Mapping[str, float]), nullable=False),
)


ARCHITECTURES = Rows(
    ArchitectureRecord,
    architectures,
    paths={name: f"architecture.{name}" for name in ("space_id", "parameters", "choices")},
)
SPACE_TABLES = Rows(SpaceTable, space_tables, paths=OWNER_PATH, joined=OWNER)


class ArchitectureStore(Store):
    """Architectures, once for all searches."""

    def put_architectures(self, records: Sequence[ArchitectureRecord]) -> None:
        """Store those that are not there yet."""
        self._insert_ignore(architectures, [ARCHITECTURES.row_of(record) for record in records])

    def get_architecture(self, arch_id: str) -> ArchitectureRecord:
        """Read the record of an architecture by its arch_id."""
        statement = ARCHITECTURES.select(architectures.c.arch_id == arch_id)
        return self._one(ARCHITECTURES, statement, "architecture", arch_id)

    def get_architectures(self, arch_ids: Sequence[str]) -> dict[str, ArchitectureRecord]:
        """Read those that are there, by id."""
        found = self._list_in(ARCHITECTURES, architectures.c.arch_id, arch_ids)
        return {record.arch_id: record for record in found}


class SpaceTableStore(Store):
    """Registered tables as rows."""

    def add_space_table(self, table: SpaceTable) -> bool:
        """Store one; False where the id is taken."""
        return self._insert_ignore(space_tables, [SPACE_TABLES.row_of(table)]) == 1

    def num_made_since(self, owner_id: str, since: datetime) -> int:
        """How many of an owner's were registered after a time."""
        c = space_tables.c
        return count_of(self._connection, sa.select(c.id).where(c.owner_id == owner_id, c.created_at > since))

    def find_space_table(self, space_id: str) -> SpaceTable | None:
        """Read one, None where there is none."""
        return self._first(SPACE_TABLES, SPACE_TABLES.select(space_tables.c.id == space_id))

    def all_space_tables(self) -> tuple[SpaceTable, ...]:
        """Every one, by id."""
        return self._list(SPACE_TABLES, SPACE_TABLES.select().order_by(space_tables.c.id))
