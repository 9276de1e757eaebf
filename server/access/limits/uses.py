"""When credentials were used last, noted in memory: a request that only reads must not wait for the one writer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime


class Uses:
    """The newest use of each credential since the last write. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: dict[str, datetime] = {}

    def note(self, id: str, at: datetime) -> None:
        """Keep a use until it is written."""
        with self._lock:
            self._noted[id] = max(at, self._noted.get(id, at))

    def latest(self, id: str, stored: datetime | None) -> datetime | None:
        """The newer one of what is noted and what is stored."""
        with self._lock:
            noted = self._noted.get(id)
        return max((at for at in (noted, stored) if at is not None), default=None)

    def write(self, write: Callable[[Mapping[str, datetime]], None]) -> None:
        """Hand what was noted to `write`; what it could not write is kept for the next time."""
        with self._lock:
            taken = dict(self._noted)
        if not taken:
            return
        write(taken)
        with self._lock:
            self._noted = {id: at for id, at in self._noted.items() if taken.get(id) != at}
