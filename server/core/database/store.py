"""What every store shares: its connection, and the statements both databases spell differently."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from server.core.database.labels import labels
from server.core.database.transaction import Transaction
from server.core.errors import NotFoundError

T = TypeVar("T")


CHUNK = 500  # values in one IN list; SQLite allows 999 variables in old builds


class Store:
    """Base of the stores: built from a transaction, valid as long as that."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._connection = tx.connection

    def _one(self, statement: sa.Select[Any], kind: str, id: str) -> sa.Row[Any]:
        """The one row, or NotFoundError."""
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            raise NotFoundError(kind, id)
        return row

    def _insert_ignore(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
        """Insert those rows whose keys are not taken; returns how many were."""
        if not rows:
            return 0
        insert = sqlite.insert if self._connection.dialect.name == "sqlite" else postgresql.insert
        # Counted by what is returned: the row count of an INSERT is not known with every driver.
        statements = (insert(table).values(dict(row)).on_conflict_do_nothing() for row in rows)
        return sum(len(self._connection.execute(one.returning(sa.literal(1))).all()) for one in statements)

    def _put_labels(self, owner_id: str, values: Mapping[str, str]) -> None:
        self._connection.execute(sa.delete(labels).where(labels.c.owner_id == owner_id))
        if values:
            rows = [{"owner_id": owner_id, "key": key, "value": value} for key, value in values.items()]
            self._connection.execute(sa.insert(labels), rows)


def chunks(values: Iterable[T]) -> Iterator[list[T]]:
    """Lists of at most `CHUNK` values."""
    iterator = iter(values)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def count_of(connection: sa.Connection, statement: sa.Select[Any]) -> int:
    """How many rows a statement has."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(statement.subquery())).scalar_one())
