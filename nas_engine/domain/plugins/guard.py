"""Calls into what others brought: bounded in time, and every fault of theirs named."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar, cast

from nas_engine.domain.errors import EngineError
from nas_engine.domain.plugins.doors import Brought, D, PluginError, described

T = TypeVar("T")
CALL_TIMEOUT_S = 120.0
"""Longest time one call may take; far beyond what proposing, decoding and drawing take on a slow host."""


class PassingError(Exception):
    """Base of what is raised by something of ours that a package is given to call: it goes through as it is."""


class Guard:
    """The way into one thing that a package brought.

    Each call runs in a thread that is waited for so long and no longer. A thread that never returns cannot be ended:
    after the first that did not, nothing more is asked of that thing in this process, and the reason is given at once.
    Only a process can be ended: see `door_survey`, which looks at every package before it is imported here.
    """

    def __init__(self, brought: Brought[D], timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._who = f"{brought.declaration.name} of {brought.provider}"
        self._timeout_s = timeout_s
        self._hung = ""

    def call(self, what: str, function: Callable[[], T], timeout_s: float | None = None) -> T:
        """Call; `what` names it in errors, and `timeout_s` is its own limit where it has one.

        Raises:
            PassingError: as something of ours raised it.
            EngineError: as the protocol of the thing says, by the package itself.
            PluginError: it raised anything else, ended its thread, or did not answer in time.
        """
        if self._hung:
            raise PluginError(f"{self._hung}; nothing more is asked of it until this process starts anew")
        answer: list[object] = []
        faults: list[BaseException] = []

        def run() -> None:
            try:
                answer.append(function())
            except BaseException as error:  # SystemExit too: handed to whoever waits
                faults.append(error)

        thread = threading.Thread(target=run, name=f"guard {self._who}", daemon=True)
        thread.start()
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        thread.join(limit_s)
        if answer:
            return cast(T, answer[0])
        if faults:
            if isinstance(faults[0], PluginError) and not str(faults[0]).startswith(self._who):
                raise self.fault(str(faults[0])) from faults[0]
            if isinstance(faults[0], EngineError | PassingError):
                raise faults[0]
            raise self.fault(f"{what} raised {described(faults[0])}") from faults[0]
        self._hung = f"{self._who}: {what} did not return within {limit_s:g} s"
        raise PluginError(self._hung)

    def fault(self, message: str) -> PluginError:
        """Return an error that names the thing and its package."""
        return PluginError(f"{self._who}: {message}")
