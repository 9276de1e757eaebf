"""Column types and expressions that mean the same on SQLite and PostgreSQL."""

# ruff: noqa: ARG001 (the signatures are SQLAlchemy's)

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from server.core.database.documents import dumped, reader

E = TypeVar("E", bound=Enum)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

MAX_SHARED = 1024
"""Values of one column that are kept: as many as a large farm has devices of different configurations."""

# Every id is a prefix and a ULID; digests are 64 hex digits.
Id = sa.String(40)
Digest = sa.String(64)
Label = sa.String(200)
Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


class Timestamp(TypeDecorator[datetime]):
    """A UTC instant, stored as microseconds since 1970: it compares and adds alike on every database."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        """To microseconds; naive datetimes are refused."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: store UTC instants")
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        """To an aware datetime."""
        return None if value is None else _EPOCH + value * _MICROSECOND


class EnumText(TypeDecorator[E]):
    """A member of an enum, stored as the text of its value, or of another attribute of it (`by`)."""

    impl = sa.String
    cache_ok = True

    def __init__(self, kind: type[E], by: str = "value") -> None:
        super().__init__(200)
        self.kind, self.by = kind, by
        self._members: dict[str, E] = {getattr(member, by): member for member in kind}

    def process_bind_param(self, value: E | None, dialect: sa.Dialect) -> str | None:
        """Write a member as its text; anything but a member of the enum is refused."""
        if value is None:
            return None
        if not isinstance(value, self.kind):
            raise TypeError(f"{value!r} is no {self.kind.__name__}: store and compare with its members")
        return str(getattr(value, self.by))

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> E | None:
        """Read the member that a text stands for."""
        if value is None:
            return None
        if value not in self._members:
            raise ValueError(f"the database holds {value!r}, which is no {self.kind.__name__}: is the server too old?")
        return self._members[value]


class JsonOf(TypeDecorator[Any]):
    """A value stored as the JSON document of its fields (see `server.core.database.documents`).

    Args:
        kind: type of the value: a dataclass, a pydantic model, or a tuple, set or mapping of such.
        dump, load: for documents that do not follow from the fields.
        shared: values are frozen through and through and few differ: a text that was read lately gives the same value.
    """

    impl = sa.JSON
    cache_ok = True

    def __init__(
        self,
        kind: Any,
        *,
        dump: Callable[[Any], Any] | None = None,
        load: Callable[[Any], Any] | None = None,
        shared: bool = False,
    ) -> None:
        super().__init__(none_as_null=True)
        self.kind, self.dump, self.load, self.shared = kind, dump or dumped, load or reader(kind), shared

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """JSONB where there is such a thing."""
        return dialect.type_descriptor(Json)

    def result_processor(self, dialect: sa.Dialect, coltype: Any) -> Callable[[Any], Any] | None:
        """As any type's; SQLite gives texts, which a shared value is known by. PostgreSQL's driver has read them."""
        read = super().result_processor(dialect, coltype)
        return lru_cache(MAX_SHARED)(read) if self.shared and read and dialect.name == "sqlite" else read

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        """Write a value as its document."""
        return None if value is None else self.dump(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        """Read a value from its document."""
        return None if value is None else self.load(value)


class now(FunctionElement[datetime]):  # noqa: N801 (reads as the SQL function it is)
    """The database's clock, as a `Timestamp`. It moves within a transaction."""

    type = Timestamp()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    # julianday has a resolution of about 0.05 ms; SQLite 3.40 knows no finer clock.
    return "CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)"


@compiles(now, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"


def later(after: float | sa.BindParameter[int]) -> sa.ColumnElement[datetime]:
    """The database's clock plus some seconds, or plus microseconds that are bound."""
    after_us = after if isinstance(after, sa.BindParameter) else round(after * 1e6)
    return sa.type_coerce(sa.type_coerce(now(), sa.BigInteger) + after_us, Timestamp())


def finite(column: str) -> sa.CheckConstraint:
    """Refuse NaN and infinities (SQLite stores NaN as NULL, PostgreSQL sorts it above every number)."""
    return sa.CheckConstraint(f"{column} >= -1.7e308 AND {column} <= 1.7e308", name=f"{column}_finite")
