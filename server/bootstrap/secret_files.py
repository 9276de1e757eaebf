"""Secrets that live in the server's home folder, readable by its owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from server.shipping.bundle.signing import SigningKey, SigningKeyError, new_key_pem

SECRET_KEY_FILE = "secret.key"
SIGNING_KEY_FILE = "evidence.key"


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
    return _made_once(home / SECRET_KEY_FILE, lambda: secrets.token_hex(32).encode())


def signing_key(home: Path, given: Path | None) -> SigningKey:
    """The key that signs evidence bundles: of the given file, else of the one in `home`, which is made once.

    Raises:
        OSError: the file cannot be read, or holds no such key.
    """
    path = home / SIGNING_KEY_FILE if given is None else given
    content = path.read_bytes() if given is not None else _made_once(path, new_key_pem)
    try:
        return SigningKey(content)
    except SigningKeyError as error:
        raise OSError(f"{path}: {error}") from error


def _made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of a secret file, readable by its owner alone; made where there is none."""
    if path.exists() and path.stat().st_size == 0:  # a start of an earlier release that a full disk ended
        path.unlink()
    if not path.exists():
        # Complete before it has its name: a key that was cut short would sign as well as a whole one.
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(make())
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # a second server in the same folder was faster
                os.link(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    return path.read_bytes()
