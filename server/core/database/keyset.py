"""Keyset pages: continue after (sort value, id) of the last item; rows without the value come last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from server.core.paging import Page, PageRequest, Position

T = TypeVar("T")


def fetch_page(
    connection: sa.Connection,
    statement: sa.Select[Any],
    request: PageRequest,
    *,
    id_column: sa.ColumnElement[Any],
    from_row: Callable[[Any], T],
    value_column: sa.ColumnElement[Any] | None = None,
    descending: bool = False,
    has_nulls: bool = True,
) -> Page[T]:
    """One page of `statement`, which must select the id and the sort column.

    Args:
        id_column: unique; breaks ties in the same direction.
        value_column: what is sorted by; None sorts by the id alone. Its rows may be NULL.
        has_nulls: whether they may; where they may not, an index on both columns gives the order.
        from_row: makes an item of a row.
    """
    direction = sa.desc if descending else sa.asc
    after = request.after
    if value_column is None:
        statement = statement.order_by(direction(id_column))
        if after is not None:
            statement = statement.where(id_column < after.id if descending else id_column > after.id)
    else:
        nulls_last = (value_column.is_(None),) if has_nulls else ()
        statement = statement.order_by(*nulls_last, direction(value_column), direction(id_column))
        if after is not None:
            statement = statement.where(_behind(value_column, id_column, after, descending, has_nulls))
    rows = connection.execute(statement.limit(request.size + 1)).all()
    page = rows[: request.size]
    items = tuple(from_row(row) for row in page)
    if len(rows) <= request.size:
        return Page(items)
    last = page[-1]._mapping
    value = None if value_column is None else last[value_column]
    return Page(items, Position(value, str(last[id_column])))


def _behind(
    value: sa.ColumnElement[Any], id_column: sa.ColumnElement[Any], after: Position, descending: bool, has_nulls: bool
) -> sa.ColumnElement[bool]:
    if not has_nulls:  # said of both at once, so that an index on both is entered at the place
        place, last = sa.tuple_(value, id_column), sa.tuple_(after.value, after.id, types=[value.type, id_column.type])
        return place < last if descending else place > last
    id_behind = id_column < after.id if descending else id_column > after.id
    if after.value is None:
        return sa.and_(value.is_(None), id_behind)
    value_behind = value < after.value if descending else value > after.value
    return sa.or_(value_behind, sa.and_(value == after.value, id_behind), value.is_(None))
