"""The thread in which a worker says that it lives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

import structlog

from server.core.errors import ServiceError
from server.jobs.workers.registered import BEAT_S

_log = structlog.get_logger("hilnas.worker")


class Beats:
    """Calls `beat` every few seconds while it is open, and `leave` at its end. A beat that fails is left out."""

    def __init__(self, beat: Callable[[], None], leave: Callable[[], None], every_s: float = BEAT_S) -> None:
        self._beat, self._leave, self._every_s = beat, leave, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)

    def __enter__(self) -> Beats:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=10)
        self._try(self._leave)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._try(self._beat)
            self._ended.wait(self._every_s)

    def _try(self, say: Callable[[], None]) -> None:
        try:
            say()
        except Exception as error:  # the database is away: the next beat tells that the worker lived on
            _log.warning("no beat", error=str(error), exc_info=None if isinstance(error, ServiceError) else error)
