"""Telling a running job to stop, from whichever thread learns of it first."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from device_agent.failures import JobStoppedError
from nas_engine.domain.job_protocol import FailureType


class StopToken:
    """Set once, with a reason; wakes whoever waits, and runs what was registered to interrupt blocking calls."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._type = FailureType.CANCELLED
        self._reason = ""

    def stop(self, type: FailureType, reason: str) -> None:
        """Ask the job to stop; only the first reason counts.

        Args:
            type: CANCELLED, LEASE_LOST or AGENT_SHUTDOWN.
            reason: one line.
        """
        with self._lock:
            if self._event.is_set():
                return
            self._type, self._reason = type, reason
            self._event.set()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    @property
    def stopped(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise if the job is to stop.

        Raises:
            JobStoppedError: the token was set.
        """
        if self._event.is_set():
            raise JobStoppedError(self._type, self._reason)

    def wait(self, seconds: float) -> None:
        """Wait for `seconds`, or until the token is set.

        Raises:
            JobStoppedError: it was set before or meanwhile.
        """
        self._event.wait(seconds)
        self.check()

    @contextlib.contextmanager
    def interrupting(self, callback: Callable[[], None]) -> Iterator[None]:
        """Run `callback` (from another thread) if the token is set inside the block; at once if it is set already."""
        with self._lock:
            self._callbacks.append(callback)
            stopped = self._event.is_set()
        if stopped:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)
