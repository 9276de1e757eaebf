"""What every document and query on the wire shares. It needs pydantic alone: the SDK reads answers with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Annotated, Any, Generic, Self, TypeVar, get_args

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import BUILT_IN, declarations
from nas_engine.domain.uncertainty import Interval, quantity_text
from nas_engine.settings.base import OneOf, check_form
from nas_engine.settings.field_docs import Documented
from server.core.paging import MAX_PAGE_SIZE

Json = Any
"""Any JSON value."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Id = Annotated[str, Field(examples=["srch_01jd3x5w8k2v7m4q9r6t1y0z3a"])]
MetricLabel = Annotated[str, OneOf(lambda: (one.name for one in declarations()), is_checked=False)]
NameText = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


DEFAULT_PAGE_SIZE = 50
_MOST_SHOWN, _LONGEST_SHOWN = 5, 40  # members of a repr, and letters of each
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
LabelText = Annotated[
    str, Field(max_length=300, pattern=r"^[^:\x00-\x1f\x7f]+:[^\x00-\x1f\x7f]*$", examples=["team:vision"])
]


def _written_out(text: object) -> object:
    """Refuse seconds since 1970, which pydantic would read as a time."""
    if isinstance(text, str) and not re.match(r"\d{4}-\d{2}-\d{2}[Tt ]", text):
        raise ValueError("write the time as RFC 3339 says, such as 2026-03-01T12:00:00Z")
    return text


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
"""A time of a query, as RFC 3339 writes it, with its zone."""


class Resource(Documented):
    """Base of answers: unknown members are ignored when read, so that servers may add some."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, from_attributes=True)

    @classmethod
    def of(cls, *values: object, **members: object) -> Self:
        """The resource of a value: each field is the member given here, else the attribute of the first value that has
        it. Values inside are read in the same way.
        """
        return cls.model_validate(_Attributes(values, members))

    @classmethod
    def of_stored(cls, **members: object) -> Self:
        """The resource of all its fields, each of the field's own type, read from rows that were checked when they were
        written. Nothing is checked once more: a page holds thousands of values, and checking costs more than reading.
        """
        made = cls.__new__(cls)  # what `model_construct` makes, without its look at every field's aliases and defaults
        object.__setattr__(made, "__dict__", members)
        object.__setattr__(made, "__pydantic_fields_set__", set(members))
        object.__setattr__(made, "__pydantic_extra__", None)
        object.__setattr__(made, "__pydantic_private__", None)
        return made

    @classmethod
    def of_metrics(cls, values: Mapping[str, float]) -> dict[str, float | None]:
        """The values of those fields that are named like metrics, of their types; None where one is not known."""
        known = ((name, kind, values.get(name)) for name, kind in _metric_fields(cls))
        return {name: None if value is None else kind(value) for name, kind, value in known}

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """The first plain members, cut short: a document is a page long."""
        shown = 0
        for name in type(self).model_fields:
            value = _written(self.__dict__.get(name))
            if value in (None, "") or not isinstance(value, str | int | float | datetime):
                continue
            if isinstance(value, str) and len(value) > _LONGEST_SHOWN:
                value = f"{value[:_LONGEST_SHOWN]}..."
            yield name, value
            shown += 1
            if shown == _MOST_SHOWN:
                return

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """Enums as they are written, alone and in sequences."""
        if isinstance(value, tuple | frozenset):
            return [_written(item) for item in value]
        return _written(value)


class IntervalResource(Resource):
    """A value with its 95 % interval."""

    value: float
    """Value in the metric's unit."""

    low: float | None
    """Lower end of the 95 % interval; null where it is not known."""

    high: float | None
    """Upper end of the 95 % interval; null where it is not known."""

    is_lopsided: bool
    """Whether the value lies near one end of a wide interval, as the median of samples on two levels does."""

    text: str
    """The same as people write it, with sensible digits and the unit: `73.95 ± 0.09 us`, `79.6 ± 0.9 %`."""


def interval_resource(interval: Interval, unit: str, *, signed: bool = False) -> IntervalResource:
    """An interval in its metric's unit, and as it is written."""
    return IntervalResource.of(interval, text=quantity_text(interval, unit, signed=signed))


class _Attributes:
    """The attributes of several values as those of one."""

    def __init__(self, values: tuple[object, ...], members: Mapping[str, object]) -> None:
        self._values = values
        self._members = members

    def __getattr__(self, name: str) -> object:
        if name in self._members:
            return self._members[name]
        for value in self._values:
            if hasattr(value, name):
                return getattr(value, name)
        raise AttributeError(name)


@cache
def _metric_fields(kind: type[Resource]) -> tuple[tuple[str, type[float]], ...]:
    """Fields of a resource that are values of built-in metrics, whole numbers or not; no package names a field."""
    hints = {one.name: kind.model_fields[one.name].annotation for one in BUILT_IN if one.name in kind.model_fields}
    return tuple((name, int if int in (hint, *get_args(hint)) else float) for name, hint in hints.items())


def _written(value: Any) -> Any:
    if isinstance(value, Metric):
        return value.name
    return value.value if isinstance(value, Enum) else value


class Body(Documented):
    """Base of requests: unknown members and non-finite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _form = model_validator(mode="before")(check_form)


T = TypeVar("T", bound=Resource)


class Listing(Resource, Generic[T]):
    """One page of a list."""

    items: list[T]
    """Items of this page, in the listing's order."""

    next_page_token: str | None = None
    """Token of the next page, to be given as page_token; null on the last one."""

    total: int | None = None
    """Number of items of the whole listing; null unless include_total was set."""


class ListQuery(BaseModel):
    """Paging, the same for every listing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    page_size: int = Field(default=DEFAULT_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)
    """Number of items on a page."""

    page_token: Annotated[str, Field(max_length=2000)] | None = None
    """Token of the page to list: `next_page_token` of the page before it, asked with the same filters."""


class CountedQuery(ListQuery):
    """Paging for listings that can be counted."""

    include_total: bool = False
    """Whether to count the whole listing too; costs time on long ones."""
