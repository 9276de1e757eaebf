"""Statements that are compiled once and run on the driver's own cursor, for what every job of every board needs.

SQLAlchemy takes ten times as long to run a cached statement as SQLite does. Here its compiler writes the SQL and its
column types convert what goes in and comes out, as they do elsewhere; what lies between the two is left out. The
connection, its transaction and its errors stay SQLAlchemy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

MAX_KEPT = 1024
"""Statements that are kept compiled, for all databases of a process: a server has some forty."""

Convert = Callable[[Any], Any]


@dataclass(slots=True)
class _Compiled:
    """A statement in the words of one driver.

    Attributes:
        order: names of its parameters where the driver wants them in order; None where it wants them by name.
        fixed: values that the statement itself brings, converted.
        writes: what converts the values of parameters, by name; those that go as they are are not named.
        types: of the columns of its rows.
        reads: what converts each of them, None for what is taken as it is; known with the first rows, because drivers
            then say what they give.
    """

    sql: str
    order: tuple[str, ...] | None
    fixed: Mapping[str, Any]
    writes: Mapping[str, Convert]
    types: Sequence[Any]
    reads: Sequence[Convert | None] | None = None


def fetch(connection: sa.Connection, statement: Any, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a statement that was built once, its columns converted by their types.

    Args:
        statement: kept by the caller: a new one each time would be compiled each time.
        parameters: a value for each of its `bindparam`s.

    Raises:
        TypeError: it compares with a list whose length only its values say.
    """
    compiled = _compiled(statement, connection.dialect)
    cursor = _execute(connection, compiled, parameters)
    reads = compiled.reads
    if reads is None:
        given = [described[1] for described in cursor.description]
        reads = compiled.reads = [
            kind.dialect_impl(connection.dialect).result_processor(connection.dialect, code)
            for kind, code in zip(compiled.types, given, strict=True)
        ]
    return [
        tuple([value if read is None else read(value) for read, value in zip(reads, row, strict=True)])
        for row in cursor.fetchall()
    ]


def run(connection: sa.Connection, statement: Any, parameters: Mapping[str, Any]) -> int:
    """Run a statement that gives no rows, as `fetch` does; returns how many it touched."""
    return int(_execute(connection, _compiled(statement, connection.dialect), parameters).rowcount)


def _execute(connection: sa.Connection, compiled: _Compiled, parameters: Mapping[str, Any]) -> Any:
    values = {**compiled.fixed, **parameters}
    for name, write in compiled.writes.items():
        values[name] = write(parameters[name])
    given = values if compiled.order is None else tuple([values[name] for name in compiled.order])
    driver = connection.dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        cursor.execute(compiled.sql, given)
    except driver.Error as error:
        lost = connection.dialect.is_disconnect(error, connection.connection.dbapi_connection, cursor)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            compiled.sql, given, error, driver.Error, connection_invalidated=lost, dialect=connection.dialect
        ) from error
    return cursor


@lru_cache(MAX_KEPT)
def _compiled(statement: Any, dialect: sa.Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect)
    if compiled.post_compile_params:
        raise TypeError(f"{compiled}: lists of values are written out at each call; give `in_` a list of `sa.literal`")
    writes, fixed = {}, {}
    for bound, name in compiled.bind_names.items():
        write = bound.type.dialect_impl(dialect).bind_processor(dialect)
        if not bound.required:
            fixed[name] = bound.effective_value if write is None else write(bound.effective_value)
        elif write is not None:
            writes[name] = write
    names = compiled.positiontup if compiled.positional else None
    columns = statement.exported_columns if isinstance(statement, sa.sql.expression.ReturnsRows) else ()
    types = [column.type for column in columns]
    return _Compiled(str(compiled), None if names is None else tuple(names), fixed, writes, types)
