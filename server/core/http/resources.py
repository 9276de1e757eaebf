"""What every document and query on the wire shares. It needs pydantic alone: the SDK reads answers with it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import declarations
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
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
LabelText = Annotated[
    str, Field(max_length=300, pattern=r"^[^:\x00-\x1f\x7f]+:[^\x00-\x1f\x7f]*$", examples=["team:vision"])
]


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
    def of_metrics(cls, values: Mapping[str, float]) -> dict[str, float | None]:
        """The values of those fields that are named like metrics; None where one is not known."""
        names = (one.name for one in declarations() if one.name in cls.model_fields)
        return {name: values.get(name) for name in names}

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """Enums as they are written, alone and in sequences."""
        if isinstance(value, tuple | frozenset):
            return [_written(item) for item in value]
        return _written(value)


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
