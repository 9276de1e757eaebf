"""Rows of a table as values of a type and back, driven by the fields: neither is written out by hand.

A column holds what lies at its path in the value; unless another path is given, that is the field or property of the
column's name. The column types convert enums, instants and JSON documents (see `server.core.database.types`). Three
things go beyond that:

- A value inside the value is spread over several columns: `paths={"target_device_id": "target.device_id", ...}`. Read
  back, it is assembled from the columns whose paths begin with the field's name; None where all of them are NULL.
- A column repeats a part of the value, to filter and sort by: `paths={"p50_us": "stats.p50_us"}`. It is written, and
  not read where the field has a column of its own.
- A field comes from another table: `joined={"record": ARCHITECTURES}` or `joined={"hardware": hardware.c.document}`.
  It is read by the foreign key between the two tables, and not written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from operator import itemgetter
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_type_hints

import sqlalchemy as sa
from pydantic import BaseModel

from server.core.database.statements import key_conditions

T = TypeVar("T")

Read = Callable[[Sequence[Any]], Any]
"""Makes a value of a row that has the columns in their order."""


class Rows(Generic[T]):
    """How values of one type lie in the rows of one table.

    Attributes:
        kind: type of the values: a frozen dataclass or pydantic model.
        columns: what a SELECT must name for `value_of`, those of joined tables included.
        source: the table, joined with those that fields come from.

    Args:
        paths: for columns, where in the value that lies which they hold; see the module.
        joined: for fields that other tables hold, the column or the rows they are read from.
        beside: columns that belong to no value: the store writes and reads them itself.
        apart: fields that keep their default here: the store reads them from other rows.

    Raises:
        TypeError: a field has no column, or a column has no field: the two descriptions have drifted apart.
    """

    def __init__(
        self,
        kind: type[T],
        table: sa.Table,
        *,
        paths: Mapping[str, str] | None = None,
        joined: Mapping[str, sa.Column[Any] | Rows[Any]] | None = None,
        beside: Collection[str] = (),
        apart: Collection[str] = (),
    ) -> None:
        self.kind, self.table = kind, table
        self._by: dict[tuple[tuple[sa.Column[Any], ...], bool], sa.Select[Any]] = {}
        paths, joined = paths or {}, joined or {}
        own = [column for column in table.c if column.name not in beside]
        unknown = {*paths, *beside} - {column.name for column in table.c}
        if unknown:
            raise TypeError(f"table {table.name} has no columns {sorted(unknown)}")
        at = {column.name: paths.get(column.name, column.name) for column in own}
        known = {*_hints(kind), *dir(kind)}
        for name, path in at.items():
            if path.split(".")[0] not in known:
                raise TypeError(f"{table.name}.{name}: {kind.__name__} has no {path!r}; give its path, or say `beside`")
        self._written = {name: path.split(".") for name, path in at.items()}
        self._by_path = {at[column.name]: column for column in own}
        self._joined, self._apart = joined, apart
        self.columns: tuple[sa.Column[Any], ...] = tuple(own)
        self.source: sa.FromClause = table
        for name, part in joined.items():
            self.columns += part.columns if isinstance(part, Rows) else (part,)
            self.source = self.source.join(part.table, isouter=NoneType in get_args(_hints(kind)[name]))
        self._read = self.reading({column: place for place, column in enumerate(self.columns)})

    def select(self, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
        """A SELECT of these values."""
        return sa.select(*self.columns).select_from(self.source).where(*conditions)

    def by(self, *columns: sa.Column[Any], lock: bool = False) -> sa.Select[Any]:
        """The SELECT of those that hold what `key_parameters` gives in these columns, built once.

        Args:
            lock: hold them until the transaction ends.
        """
        if (columns, lock) not in self._by:
            statement = self.select(*key_conditions(*columns))
            self._by[columns, lock] = statement.with_for_update(of=self.table) if lock else statement
        return self._by[columns, lock]

    def row_of(self, value: T) -> dict[str, Any]:
        """The row of a value, by column name."""
        return {name: _at(value, path) for name, path in self._written.items()}

    def value_of(self, row: sa.Row[Any]) -> T:
        """The value of a row that `columns` were selected for, wherever they stand in it."""
        columns = row._mapping
        return self.value_at([columns[column] for column in self.columns])

    def value_at(self, values: Sequence[Any]) -> T:
        """The value of what `columns` hold, in their order and nothing else.

        Raises:
            TypeError: there are more or fewer: the statement selects something else.
        """
        if len(values) != len(self.columns):
            raise TypeError(f"{len(values)} columns where {self.kind.__name__} has {len(self.columns)}")
        return self._read(values)  # type: ignore[no-any-return]

    def reading(self, places: Mapping[sa.Column[Any], int]) -> Read:
        """What makes a value of a row that has each column at its place."""
        return _reading(self.kind, self._by_path, self._joined, self._apart, places)


def _hints(kind: type) -> Mapping[str, Any]:
    """Fields of a dataclass or pydantic model with their types."""
    if issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if not is_dataclass(kind):
        raise TypeError(f"{kind.__name__} is neither a dataclass nor a pydantic model: rows need its fields")
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _at(value: Any, path: list[str]) -> Any:
    for part in path:
        if value is None:
            return None
        value = getattr(value, part)
    return value


def _reading(
    kind: type,
    columns: Mapping[str, sa.Column[Any]],
    joined: Mapping[str, Any],
    apart: Collection[str],
    places: Mapping[sa.Column[Any], int],
) -> Read:
    """What makes a value of a row, given the columns by their paths."""
    reads: dict[str, Read] = {}
    for name, hint in _hints(kind).items():
        within = {path[len(name) + 1 :]: c for path, c in columns.items() if path.startswith(f"{name}.")}
        if name in apart:
            continue
        if name in joined:
            part = joined[name]
            reads[name] = _reading_joined(hint, part, places) if isinstance(part, Rows) else itemgetter(places[part])
        elif name in columns:
            reads[name] = itemgetter(places[columns[name]])
        elif within:
            reads[name] = _reading_part(hint, within, places)
        else:
            raise TypeError(f"{kind.__name__}.{name}: no column holds it; add one, or say where it is `joined` from")
    return lambda row: kind(**{name: read(row) for name, read in reads.items()})


def _reading_part(hint: Any, columns: Mapping[str, sa.Column[Any]], places: Mapping[sa.Column[Any], int]) -> Read:
    """What makes a value that is spread over several columns; None where its type allows that and all are NULL."""
    optional = NoneType in get_args(hint)
    kind = next(argument for argument in get_args(hint) if argument is not NoneType) if optional else hint
    read = _reading(kind, columns, {}, (), places)
    return _or_none(read, [places[column] for column in columns.values()]) if optional else read


def _reading_joined(hint: Any, part: Rows[Any], places: Mapping[sa.Column[Any], int]) -> Read:
    """What makes a value of another table's row; None where its type allows that and there is no such row."""
    read = part.reading(places)
    return _or_none(read, [places[column] for column in part.columns]) if NoneType in get_args(hint) else read


def _or_none(read: Read, places: Sequence[int]) -> Read:
    return lambda row: None if all(row[place] is None for place in places) else read(row)
