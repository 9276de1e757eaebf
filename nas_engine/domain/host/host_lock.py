"""One lock for everybody on a host who times things or disturbs timing.

The contract, for processes in any language: two files, PATH and PATH.gate, locked with flock(2).

- Who times takes PATH.gate exclusively, then PATH exclusively, releases the gate, times one block, releases PATH.
- Who would disturb timing (a training step, starting a process) takes PATH.gate shared, then PATH shared, releases the
  gate, does one short step, releases PATH.

The gate keeps a stream of short steps from starving a timer: while a timer waits for PATH it holds the gate, so no new
step begins. Locks die with their process; nothing has to be cleaned up. Stdlib only, so a training process may use it:

    lock = HostLock(default_lock_path())
    with lock.working():
        step()
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

POLL_S = 0.002  # flock(2) knows no time limit, so it is polled


class HostBusyError(TimeoutError):
    """The lock was not to be had within the limit: somebody times or works for too long."""


def default_lock_path() -> Path:
    """HILNAS_HOST_LOCK, or hilnas-timing.lock in the directory for temporary files."""
    return Path(os.environ.get("HILNAS_HOST_LOCK", os.path.join(tempfile.gettempdir(), "hilnas-timing.lock")))


class HostLock:
    """The host-wide timing lock at one path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._gate_path = path.with_name(path.name + ".gate")

    @contextlib.contextmanager
    def timing(self, timeout_s: float = 60.0) -> Iterator[None]:
        """Hold the host alone, for one timed block.

        Raises:
            HostBusyError: not to be had within `timeout_s` seconds.
        """
        with self._held(fcntl.LOCK_EX, timeout_s):
            yield

    @contextlib.contextmanager
    def working(self, timeout_s: float = 60.0) -> Iterator[None]:
        """Do one short step of work while nobody times; any number of workers may hold it together.

        Raises:
            HostBusyError: not to be had within `timeout_s` seconds.
        """
        with self._held(fcntl.LOCK_SH, timeout_s):
            yield

    @contextlib.contextmanager
    def _held(self, mode: int, timeout_s: float) -> Iterator[None]:
        deadline = time.monotonic() + timeout_s
        gate = _open(self._gate_path)
        try:
            _lock(gate, mode, deadline, self.path)
            main = _open(self.path)
            try:
                _lock(main, mode, deadline, self.path)
                fcntl.flock(gate, fcntl.LOCK_UN)
                yield
            finally:
                os.close(main)
        finally:
            os.close(gate)


def _open(path: Path) -> int:
    """Open or make the lock file so that processes of any user on the host can share it."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with contextlib.suppress(PermissionError):  # made by another user between the two calls
            os.fchmod(descriptor, 0o666)
        return descriptor


def _lock(descriptor: int, mode: int, deadline: float, path: Path) -> None:
    while True:  # ends at the deadline
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise HostBusyError(f"{path} is held by another process: see `fuser {path}`") from None
            time.sleep(POLL_S)
