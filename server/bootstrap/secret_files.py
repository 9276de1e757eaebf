"""Secrets that live in the server's home folder, readable by its owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

SECRET_KEY_FILE = "secret.key"


class PendingSecret:
    """A secret that is on disk before it is in the database, so that a crash between the two loses nothing.

    Attributes:
        path: where it ends up, readable by its owner alone.
        secret: the one an earlier start left behind, else the one given.
        left_behind: an earlier start ended before it said `keep` or `drop`.
    """

    def __init__(self, path: Path, secret: str) -> None:
        self.path = path
        self._pending = path.with_name(f"{path.name}.new")
        try:
            descriptor = os.open(self._pending, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            found = self._pending.read_text(encoding="ascii")
            # A write that was cut short has no line end, and was never used.
            self.left_behind = found.endswith("\n")
            self.secret = found.strip() if self.left_behind else secret
            if not self.left_behind:
                self._pending.write_text(secret + "\n", encoding="ascii")
            return
        self.left_behind, self.secret = False, secret
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret + "\n")

    def keep(self) -> None:
        """It is valid: put it in its place."""
        if self._pending.exists():  # a second server in the same folder may have done so
            os.replace(self._pending, self.path)

    def drop(self) -> None:
        """It is not valid: forget it."""
        self._pending.unlink(missing_ok=True)


def secret_key(home: Path, given: str) -> bytes:
    """The key that signs page tokens: as given, else from its file in `home`, which is made once."""
    if given:
        return given.encode()
    path = home / SECRET_KEY_FILE
    if path.exists() and path.stat().st_size == 0:  # a start of an earlier release that a full disk ended
        path.unlink()
    if not path.exists():
        # Complete before it has its name: a key that was cut short would sign as well as a whole one.
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(secrets.token_hex(32).encode())
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # a second server in the same folder was faster
                os.link(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    return path.read_bytes()
