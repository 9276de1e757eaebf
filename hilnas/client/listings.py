"""Listings as they are consumed: iterators that can become a table, in a notebook and in pandas."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

from hilnas.client.views.frames import frame_of
from hilnas.client.views.html import table_of

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")
_SHOWN = 20


class PagedItems(Iterator[T], Generic[T]):
    """Items of a listing, fetched page by page as they are consumed."""

    def __init__(self, values: Iterator[T]) -> None:
        self._values = values
        self._ahead: deque[T] = deque()  # fetched to be shown, not consumed yet

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self._ahead.popleft() if self._ahead else next(self._values)

    def to_pandas(self) -> pandas.DataFrame:
        """The items that were not consumed yet, as a table: a row an item, members of members as ``a.b``.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return frame_of(self)

    def __repr__(self) -> str:
        self._look_ahead()
        more = ", ..." if len(self._ahead) > _SHOWN else ""
        return f"<listing of {', '.join(map(repr, islice(self._ahead, 3))) or 'nothing'}{more}>"

    def _repr_html_(self) -> str:
        """The first items as a table; they are still there to be consumed."""
        self._look_ahead()
        return table_of(list(islice(self._ahead, _SHOWN)), has_more=len(self._ahead) > _SHOWN)

    def _look_ahead(self) -> None:
        self._ahead.extend(islice(self._values, max(_SHOWN + 1 - len(self._ahead), 0)))


class AsyncPagedItems(AsyncIterator[T], Generic[T]):
    """Items of a listing, fetched page by page as they are consumed with ``async for``."""

    def __init__(self, values: AsyncIterator[T]) -> None:
        self._values = values

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        return await anext(self._values)

    async def to_list(self) -> list[T]:
        """The items that were not consumed yet."""
        return [value async for value in self._values]

    async def to_pandas(self) -> pandas.DataFrame:
        """As of `PagedItems`. Raises MissingPackageError."""
        return frame_of(await self.to_list())

    def __repr__(self) -> str:
        return "<async listing: iterate with 'async for', or 'await listing.to_list()'>"
