"""Tables of architectures and of result tables, and their stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.architecture import Architecture
from server.core.database.metadata import metadata
from server.core.database.store import Store, chunks
from server.core.database.types import Digest, Id, Json, Label, Timestamp
from server.spaces.architecture import ArchitectureRecord
from server.spaces.result_table import SpaceTable

space_tables = sa.Table(
    "space_tables",
    metadata,
    sa.Column("id", Label, primary_key=True),
    sa.Column("sha256", Digest, nullable=False),
    sa.Column("created_by", Id),
    sa.Column("created_at", Timestamp, nullable=False),
)


architectures = sa.Table(
    "architectures",
    metadata,
    sa.Column("arch_id", Digest, primary_key=True),
    sa.Column("space_id", Label, nullable=False, index=True),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("choices", sa.Text, nullable=False),
    sa.Column("genotype", Json),
    sa.Column("macs", sa.BigInteger),
    sa.Column("params", sa.BigInteger),
    sa.Column("peak_activation_bytes", sa.BigInteger),
)


ARCHITECTURE_COLUMNS = (
    architectures.c.space_id,
    architectures.c.parameters,
    architectures.c.choices,
    architectures.c.genotype.label("canonical_genotype"),
    architectures.c.macs,
    architectures.c.params,
    architectures.c.peak_activation_bytes,
)


class ArchitectureStore(Store):
    """Architectures, once for all searches."""

    def put(self, records: Sequence[ArchitectureRecord]) -> None:
        """Store those that are not there yet."""
        self._insert_ignore(architectures, [_architecture_row(record) for record in records])

    def get(self, arch_id: str) -> ArchitectureRecord:
        """Read one."""
        statement = sa.select(architectures, architectures.c.genotype.label("canonical_genotype"))
        return architecture_from_row(
            self._one(statement.where(architectures.c.arch_id == arch_id), "architecture", arch_id)
        )

    def get_many(self, arch_ids: Sequence[str]) -> dict[str, ArchitectureRecord]:
        """Read those that are there, by id."""
        statement = sa.select(architectures, architectures.c.genotype.label("canonical_genotype"))
        found = (
            self._connection.execute(statement.where(architectures.c.arch_id.in_(some))) for some in chunks(arch_ids)
        )
        return {row.arch_id: architecture_from_row(row) for rows in found for row in rows}


def _architecture_row(record: ArchitectureRecord) -> dict[str, Any]:
    return {
        "arch_id": record.arch_id,
        "space_id": record.architecture.space_id,
        "parameters": record.architecture.parameters,
        "choices": record.architecture.choices,
        "genotype": None if record.genotype is None else list(record.genotype),
        "macs": record.macs,
        "params": record.params,
        "peak_activation_bytes": record.peak_activation_bytes,
    }


def architecture_from_row(row: sa.Row[Any]) -> ArchitectureRecord:
    return ArchitectureRecord(
        architecture=Architecture(row.space_id, row.parameters, row.choices),
        genotype=None if row.canonical_genotype is None else tuple(row.canonical_genotype),
        macs=row.macs,
        params=row.params,
        peak_activation_bytes=row.peak_activation_bytes,
    )


_COLUMNS = tuple(column.name for column in space_tables.c)


class SpaceTableStore(Store):
    """Registered tables as rows."""

    def add(self, table: SpaceTable) -> bool:
        """Store one; False where the id is taken."""
        return self._insert_ignore(space_tables, [asdict(table)]) == 1

    def find(self, space_id: str) -> SpaceTable | None:
        """Read one, None where there is none."""
        row = self._connection.execute(sa.select(space_tables).where(space_tables.c.id == space_id)).one_or_none()
        return None if row is None else _table(row)

    def all(self) -> tuple[SpaceTable, ...]:
        """Every one, by id."""
        return tuple(map(_table, self._connection.execute(sa.select(space_tables).order_by(space_tables.c.id))))


def _table(row: sa.Row[tuple[object, ...]]) -> SpaceTable:
    return SpaceTable(**{name: getattr(row, name) for name in _COLUMNS})
