"""Keyset paging: a page continues after the sort value and id of the last item, whatever was inserted meanwhile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, TypeVar

from nas_engine.domain.json_value import JsonValue
from server.core.errors import InvalidValueError

MAX_PAGE_SIZE = 1000
SortValue = int | float | str | None
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the last item's sort value and id."""

    value: SortValue
    id: str

    def to_json(self) -> JsonValue:
        """A two-element list; what an API wraps into its opaque page token."""
        return [self.value, self.id]

    @classmethod
    def from_json(cls, document: JsonValue) -> Position:
        """The inverse of `to_json`.

        Raises:
            InvalidValueError: the document is not a position.
        """
        match document:
            case [None | int() | float() | str() as value, str() as id] if not isinstance(value, bool):
                if isinstance(value, float) and not math.isfinite(value):
                    raise InvalidValueError(f"page position {document!r} is not finite")
                return cls(value, id)
            case _:
                raise InvalidValueError(f"page position {document!r} is not a pair of sort value and id")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """How much to list, and after what.

    Attributes:
        size: items on the page, 1 to 1000.
        after: where the page before ended; None starts at the beginning.
    """

    size: int = 50
    after: Position | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MAX_PAGE_SIZE:
            raise InvalidValueError(f"page size is {self.size}: it must be 1 to {MAX_PAGE_SIZE}")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a listing.

    Attributes:
        items: in the listing's order.
        next: ask again with this position for more; None when this was the last page.
    """

    items: tuple[T, ...]
    next: Position | None = None
