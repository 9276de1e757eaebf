"""Calls of the client, written once and used both ways.

A method under `call`, `listing` or `stream` is a generator of steps. Looked up on a group of a blocking client it is a
function that returns its value; on one of an async client, one whose value is awaited.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from hilnas.client.core.exchange import Exchange
from hilnas.client.core.steps import Call, Items
from hilnas.client.listings import AsyncPagedItems, PagedItems

P = ParamSpec("P")
T = TypeVar("T")


class Blocking:
    """Marks what belongs to a blocking client."""


class Awaiting:
    """Marks what belongs to an async client."""


M = TypeVar("M", Blocking, Awaiting)


class Carrier(Protocol):
    """What carries calls out: `Transport` or `AsyncTransport`."""

    exchange: Exchange

    def run(self, call: Any) -> Any: ...

    def iterate(self, items: Any) -> Any: ...


class ClientBound(Generic[M]):
    """Something whose calls a client carries out."""

    _carrier: Carrier


class _Method(Generic[P, T]):
    """A method that is looked up on something bound."""

    def __init__(self, make: Callable[Concatenate[Any, P], T]) -> None:
        self.make = make  # its steps alone, for other calls to go through
        self.__doc__ = make.__doc__

    def _bound(self, instance: Any, use: Callable[[T], Any]) -> Any:
        @functools.wraps(self.make)
        def carried(*args: P.args, **kwargs: P.kwargs) -> Any:
            return use(self.make(instance, *args, **kwargs))

        return carried


class call(_Method[P, Call[T]], Generic[P, T]):  # noqa: N801 (a decorator)
    """A call with one value."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: ClientBound[Blocking], owner: Any) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: ClientBound[Awaiting], owner: Any) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else self._bound(instance, instance._carrier.run)


class stream(_Method[P, Items[T]], Generic[P, T]):  # noqa: N801 (a decorator)
    """A call that gives values as they come."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: ClientBound[Blocking], owner: Any) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: ClientBound[Awaiting], owner: Any) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else self._bound(instance, instance._carrier.iterate)


class listing(_Method[P, Items[T]], Generic[P, T]):  # noqa: N801 (a decorator)
    """A call that gives the items of a listing, page by page as they are consumed."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, instance: ClientBound[Blocking], owner: Any) -> Callable[P, PagedItems[T]]: ...
    @overload
    def __get__(self, instance: ClientBound[Awaiting], owner: Any) -> Callable[P, AsyncPagedItems[T]]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        return self._bound(instance, lambda items: listed(instance._carrier.iterate(items)))


def listed(values: Iterator[T] | AsyncIterator[T]) -> PagedItems[T] | AsyncPagedItems[T]:
    """The items of a listing, whichever way they come."""
    return AsyncPagedItems(values) if isinstance(values, AsyncIterator) else PagedItems(values)
