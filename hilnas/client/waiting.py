"""Waiting for what takes minutes or days: looks now and then, until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from hilnas.client.core.steps import Call, Pause
from hilnas.client.errors import UnsuccessfulError, WaitTimeoutError


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
