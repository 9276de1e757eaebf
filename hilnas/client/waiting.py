"""Waiting for what takes minutes or days: looks now and then, until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast

from hilnas.client.core.calls import Bound, M, call
from hilnas.client.core.steps import Call, Pause
from hilnas.client.errors import UnsuccessfulError, WaitTimeoutError
from hilnas.client.resources import read


class _State(Protocol):
    @property
    def final(self) -> bool: ...

    @property
    def value(self) -> str: ...


class _Ending(Protocol):
    """Something that ends: a search, the training of a supernet or a network, a job."""

    @property
    def state(self) -> _State: ...


E = TypeVar("E", bound=_Ending)


class Ending(Bound[M]):
    """Something that ends, as it was when it was read; its methods ask the server anew.

    Attributes:
        succeeded: the one final state that is a success.
    """

    succeeded: ClassVar[object]

    @property
    def _path(self) -> str:
        """Where it is read."""
        raise NotImplementedError

    @property
    def _called(self) -> str:
        """What errors name it."""
        raise NotImplementedError

    def _again(self) -> Call[Self]:
        model: type[Any] = type(self)  # a resource's model, which this is mixed into
        found = read(model, (yield from self._carrier.exchange.get(self._path)))
        found._carrier = self._carrier
        return cast("Self", found)

    @call
    def refresh(self) -> Call[Self]:
        """Read it again."""
        return self._again()

    @call
    def wait(self, timeout_s: float | None = None, *, poll_s: float = 2.0, check: bool = True) -> Call[Self]:
        """Wait until it is over; returns it as it is then.

        Args:
            timeout_s: longest wait; None waits as long as it takes.
            poll_s: seconds between two looks.
            check: raise where it failed or was cancelled.

        Raises:
            WaitTimeoutError: it is not over yet; it goes on.
            UnsuccessfulError: it failed or was cancelled.
        """
        again: Callable[[], Call[Any]] = self._again
        return until_ended(
            again,
            what=self._called,
            succeeded=self.succeeded if check else None,
            timeout_s=timeout_s,
            poll_s=poll_s,
        )


def until_ended(
    read: Callable[[], Call[E]],
    *,
    what: str,
    succeeded: object | None,
    timeout_s: float | None,
    poll_s: float,
) -> Call[E]:
    """Read something until its state is final; returns it as it is then.

    Args:
        what: names it in errors.
        succeeded: the one final state that is a success; None takes any.

    Raises:
        WaitTimeoutError: it has not ended in time.
        UnsuccessfulError: it ended otherwise.
    """
    until_s = None if timeout_s is None else time.monotonic() + timeout_s
    while True:  # ends with what is waited for, or in time
        current = yield from read()
        if current.state.final:
            break
        left_s = poll_s if until_s is None else until_s - time.monotonic()
        if left_s <= 0.0:
            waits_for = getattr(current, "waiting_for", "")
            why = f", waiting: {waits_for}" if waits_for else ""
            raise WaitTimeoutError(f"{what} is {current.state.value} after {timeout_s:g} s{why}; it goes on")
        yield Pause(min(poll_s, left_s))
    if succeeded is not None and current.state is not succeeded:
        reason = getattr(current, "reason", "") or getattr(current, "failure_message", "")
        raise UnsuccessfulError(f"{what} is {current.state.value}{f': {reason}' if reason else ''}", current)
    return current
