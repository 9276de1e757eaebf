"""A sign of life for processes without a port: a file that is touched while the process can do its work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

_log = structlog.get_logger("hilnas.pulse")
PULSE_S = 5.0


class Pulse:
    """Touches a file every few seconds for as long as a check passes. A health check looks at the file's age.

    Args:
        path: the file.
        check: raises when the process cannot do its work.
    """

    def __init__(self, path: Path, check: Callable[[], object], every_s: float = PULSE_S) -> None:
        self._path = path
        self._check = check
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Start the thread that beats."""
        self._thread.start()

    def stop(self) -> None:
        """End, and take the file away."""
        self._stopped.set()
        self._thread.join(timeout=10)
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            try:
                self._check()
                self._path.touch()
            except Exception as error:  # it may be well again: go on looking
                _log.warning("not able to work", error=str(error))
            if self._stopped.wait(self._every_s):
                return
