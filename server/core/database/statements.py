"""Statements that are built once: to build and compare most of ours takes SQLAlchemy longer than databases to run them.

What varies from call to call are bound values. The functions here keep one statement for each shape it can have, of
which a program has few.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import sqlalchemy as sa

from server.core.database.prepared import fetch, run
from server.core.database.types import later, now

_KEY, _VALUE, _AFTER = "key_", "value_", "after_"  # no column's name begins so: SQLAlchemy keeps those for itself


def insert_row(
    connection: sa.Connection, table: sa.Table, values: Mapping[str, Any], clocked: tuple[str, ...] = ()
) -> None:
    """Insert one row.

    Args:
        clocked: columns that get the database's clock.
    """
    run(connection, _insert(table, tuple(values), clocked), {_VALUE + name: value for name, value in values.items()})


def update_row(
    connection: sa.Connection,
    key: sa.Column[Any],
    of: Any,
    values: Mapping[str, Any],
    after_s: Mapping[str, float] | None = None,
) -> Mapping[str, Any]:
    """Update the row that holds `of` in its column `key`.

    Args:
        after_s: columns that get the database's clock plus so many seconds.

    Returns:
        What these columns hold now; empty where there are none.
    """
    clocked = after_s or {}
    parameters = {_VALUE + name: value for name, value in values.items()} | {_KEY: of}
    parameters |= {_AFTER + name: round(seconds * 1e6) for name, seconds in clocked.items()}
    statement = _update(key, tuple(values), tuple(clocked))
    if not clocked:
        run(connection, statement, parameters)
        return {}
    rows = fetch(connection, statement, parameters)
    return dict(zip(clocked, rows[0], strict=True)) if rows else {}


def key_parameters(*values: Any) -> dict[str, Any]:
    """The parameters of a statement whose conditions are `key_conditions`."""
    return {f"{_KEY}{place}": value for place, value in enumerate(values)}


def key_conditions(*columns: sa.Column[Any]) -> list[sa.ColumnElement[bool]]:
    """Conditions that each of the columns holds what `key_parameters` gives."""
    return [column == sa.bindparam(f"{_KEY}{place}") for place, column in enumerate(columns)]


@cache
def _insert(table: sa.Table, names: tuple[str, ...], clocked: tuple[str, ...]) -> sa.Insert:
    bound: dict[str, Any] = {name: sa.bindparam(_VALUE + name, type_=table.c[name].type) for name in names}
    # Inline: what the database gives the row besides is not asked for.
    return sa.insert(table).values(bound | {name: now() for name in clocked}).inline()


@cache
def _update(
    key: sa.Column[Any], names: tuple[str, ...], clocked: tuple[str, ...]
) -> sa.Update | sa.sql.dml.ReturningUpdate[Any]:
    table = key.table
    bound: dict[str, Any] = {name: sa.bindparam(_VALUE + name, type_=table.c[name].type) for name in names}
    bound |= {name: later(sa.bindparam(_AFTER + name, type_=sa.BigInteger())) for name in clocked}
    statement = sa.update(table).where(key == sa.bindparam(_KEY)).values(bound)
    return statement.returning(*(table.c[name] for name in clocked)) if clocked else statement
