"""What a call asks of whoever carries it out: the client's logic is written once, as generators of these steps.

A generator yields a step and is sent the step's outcome; a failure of the network is thrown into it where it waits.
`hilnas.client.transport` carries steps out and blocks; `hilnas.client.core.async_transport` awaits them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx2

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Params = Mapping[str, str | int | float | bool | Sequence[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send a request, read the whole answer; the outcome is the response.

    Attributes:
        content: the body, or what makes its chunks.
        timeout: of each part of it.
    """

    method: str
    path: str
    params: Mapping[str, str | int | float | bool | Sequence[str]]
    headers: Mapping[str, str]
    content: bytes | Callable[[], Iterator[bytes]] | None
    timeout: httpx2.Timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Send a GET whose answer is read piece by piece; the outcome is the response, its body unread unless it is an
    error. An answer that was open before is closed.
    """

    path: str
    params: Mapping[str, str | int | float | bool | Sequence[str]]
    headers: Mapping[str, str]
    timeout: httpx2.Timeout


@dataclass(frozen=True, slots=True)
class NextLine:
    """Read the open answer's next line; the outcome is None at its end."""


@dataclass(frozen=True, slots=True)
class NextChunk:
    """Read the open answer's next bytes; the outcome is None at its end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Call something that keeps the processor or the disk busy; the outcome is what it returns."""

    do: Callable[[], Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Item(Generic[T_co]):
    """Something for the caller."""

    value: T_co


Step = Send | Open | NextLine | NextChunk | Pause | Work
Call = Generator[Step, Any, T]
"""A call that ends with one value."""
Items = Generator[Step | Item[T], Any, None]
"""A call that gives values as it goes."""


def collected(items: Items[T]) -> Call[list[T]]:
    """All values that a call gives, as the value of another."""
    found: list[T] = []
    outcome: Any = None
    failure: Exception | None = None
    while True:  # ends with the items
        try:
            step = items.send(outcome) if failure is None else items.throw(failure)
        except StopIteration:
            return found
        outcome, failure = None, None
        if isinstance(step, Item):
            found.append(step.value)
            continue
        try:
            outcome = yield step
        except httpx2.TransportError as error:
            failure = error
