"""Folders for temporary files that somebody clears even when their owner was killed.

`tempfile` clears up after a process that ends. One that is killed (SIGKILL, out of memory) leaves its folder, and a
board measures for years. Here each folder is locked with flock(2) while its owner lives; whoever makes the next one of
the same kind removes those that nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_UNLOCKED_YET_S = 60.0  # a younger folder may be one whose owner has made it and not locked it yet


@contextlib.contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a folder of one's own below `parent` (the system's folder for temporary files); removed at the end.

    Args:
        prefix: names the kind of folder: what killed owners of the same kind have left is removed first.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    _clear_abandoned(prefix, place)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _clear_abandoned(prefix: str, place: Path) -> None:
    for folder in place.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):  # gone meanwhile, held, or another user's
            if time.time() - folder.stat().st_mtime < _UNLOCKED_YET_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
