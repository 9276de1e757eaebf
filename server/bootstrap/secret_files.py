"""Secrets that live in the server's home folder, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

SECRET_KEY_FILE = "secret.key"


def write_secret(path: Path, secret: str) -> None:
    """Put a secret into a file with mode 0600, replacing what is there."""
    partial = path.with_name(f"{path.name}.part")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret + "\n")
    os.replace(partial, path)


def secret_key(home: Path, given: str) -> bytes:
    """The key that signs page tokens: as given, else from its file in `home`, which is made once."""
    if given:
        return given.encode()
    path = home / SECRET_KEY_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        key = secrets.token_hex(32).encode()
        file.write(key)
    return key
