"""Ends a process that cannot run Python any more: native code that holds the interpreter and never returns."""

from __future__ import annotations

import faulthandler
import threading

MIN_LIMIT_S = 60.0
"""Nothing that is well holds the interpreter for so long, on the slowest host."""


class Watchdog:
    """Has the process end, with the tracebacks of its threads, once no Python thread got its turn for `limit_s`.

    Such a process renews no lease, so that its jobs are others' already, and no thread of it can end it: the clock
    is faulthandler's, which needs no interpreter.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        self._thread.join(timeout=10)
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        while not self._stopped.is_set():
            faulthandler.dump_traceback_later(self._limit_s, exit=True)
            self._stopped.wait(self._limit_s / 4)
