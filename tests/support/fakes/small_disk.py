"""A disk of a few megabytes that can be filled up or made read-only, for tests of what happens then."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BLOCK = bytes(64 * 1024)


class SmallDisk:
    """A file system of its own at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (len(_BLOCK), 1024, 1):
                try:
                    while True:  # ends when the disk is full
                        file.write(_BLOCK[:size])
                except OSError:
                    continue

    def empty(self) -> None:
        """Give back what `fill` took."""
        self._filler.unlink(missing_ok=True)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """As a card is that the kernel no longer trusts: nothing on it can be written, not even by root."""
        # A mount over it: who has a file open for writing keeps it, as the agent its lock, but opens no other.
        here = str(self.path)
        for arguments in (("--bind", here, here), ("-o", "remount,ro,bind", here)):
            subprocess.run(["mount", *arguments], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", here], check=True)


@contextmanager
def small_disk(path: Path, size_mb: int) -> Iterator[SmallDisk]:
    """Mount one, or skip the test where that is not permitted."""
    path.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "none", str(path)]
    try:
        done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs the command mount")
    if done.returncode:
        pytest.skip(f"needs to mount a small file system: {done.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
