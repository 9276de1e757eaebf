"""`SpaceTableStore`: tables of results that are search spaces."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from server.db.stores.base import Store
from server.db.tables.keeping import space_tables
from server.service.values.space_table import SpaceTable

_COLUMNS = tuple(column.name for column in space_tables.c)


class SqlSpaceTableStore(Store):
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
