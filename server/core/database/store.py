"""What every store shares: its connection, and the statements both databases spell differently."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import MultipleResultsFound

from server.core.database.keyset import fetch_page
from server.core.database.labels import labels
from server.core.database.prepared import fetch
from server.core.database.rows import Rows
from server.core.database.statements import key_parameters, update_row
from server.core.database.transaction import Transaction
from server.core.errors import NotFoundError
from server.core.paging import Page, PageRequest

T = TypeVar("T")


CHUNK = 500  # values in one IN list; SQLite allows 999 variables in old builds


class Store:
    """Base of the stores: built from a transaction, valid as long as that."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._connection = tx.connection

    def _first(self, rows: Rows[T], statement: sa.Select[Any]) -> T | None:
        """The value of the only row, None where there is none."""
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else rows.value_of(row)

    def _find(self, rows: Rows[T], column: sa.Column[Any], value: Any, *, lock: bool = False) -> T | None:
        """The value of the only row that holds `value` in a column, None where there is none; locked where asked."""
        return self._only(rows, rows.by(column, lock=lock), key_parameters(value))

    def _only(self, rows: Rows[T], statement: sa.Select[Any], parameters: Mapping[str, Any]) -> T | None:
        """The value of the only row of a statement that was built once, None where there is none."""
        found = self._all_of(rows, statement, parameters)
        if len(found) > 1:
            raise MultipleResultsFound(f"{len(found)} rows where one was expected: {statement}")
        return found[0] if found else None

    def _all_of(self, rows: Rows[T], statement: sa.Select[Any], parameters: Mapping[str, Any]) -> tuple[T, ...]:
        """The values of all rows of a statement that was built once."""
        return tuple([rows.value_at(row) for row in fetch(self._connection, statement, parameters)])

    def _get(self, rows: Rows[T], column: sa.Column[Any], id: str, kind: str, *, lock: bool = False) -> T:
        """As `_find`, or NotFoundError, which names it by `kind` and `id`."""
        found = self._find(rows, column, id, lock=lock)
        if found is None:
            raise NotFoundError(kind, id)
        return found

    def _one(self, rows: Rows[T], statement: sa.Select[Any], kind: str, id: str) -> T:
        """The value of the only row, or NotFoundError, which names it by `kind` and `id`."""
        found = self._first(rows, statement)
        if found is None:
            raise NotFoundError(kind, id)
        return found

    def _list(self, rows: Rows[T], statement: sa.Select[Any]) -> tuple[T, ...]:
        """The values of all rows."""
        return tuple([rows.value_at(row) for row in self._connection.execute(statement)])

    def _list_in(self, rows: Rows[T], column: sa.Column[Any], wanted: Iterable[Any], *conditions: Any) -> list[T]:
        """The values of all rows whose column holds one of those that are wanted, however many these are; unordered."""
        found: list[T] = []
        for some in chunks(wanted):
            found += self._list(rows, rows.select(column.in_(some), *conditions))
        return found

    def _page(
        self,
        rows: Rows[T],
        statement: sa.Select[Any],
        page: PageRequest,
        *,
        id_column: sa.ColumnElement[Any],
        value_column: sa.ColumnElement[Any] | None = None,
        descending: bool = False,
    ) -> Page[T]:
        """One page of values; see `fetch_page`."""
        return fetch_page(
            self._connection,
            statement,
            page,
            id_column=id_column,
            from_row=rows.value_of,
            value_column=value_column,
            descending=descending,
        )

    def _insert(self, rows: Rows[T], *values: T) -> None:
        if values:
            self._connection.execute(sa.insert(rows.table), [rows.row_of(value) for value in values])

    def _save(self, rows: Rows[T], value: T) -> T:
        """Write a locked value, whose key is its id, with its version one higher; returns what was written."""
        written: Any = replace(value, version=value.version + 1)  # type: ignore[type-var, attr-defined]
        update_row(self._connection, rows.table.c.id, written.id, rows.row_of(written))
        return written  # type: ignore[no-any-return]

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


def where_given(statement: sa.Select[Any], wanted: Mapping[sa.Column[Any], Any]) -> sa.Select[Any]:
    """Keep rows that hold the wanted value, or one of a tuple of them, in each column; None and () do not filter."""
    for column, value in wanted.items():
        if isinstance(value, tuple):
            statement = statement.where(column.in_(value)) if value else statement
        elif value is not None:
            statement = statement.where(column == value)
    return statement
