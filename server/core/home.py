"""Where a server on this machine keeps its state, and what it leaves there for its user's own commands."""

from __future__ import annotations

import os
from pathlib import Path

ADMIN_TOKEN_FILE = "admin.token"
ENROLMENT_TOKEN_FILE = "enrolment.token"
SERVER_FILE = "server.json"


def default_home() -> Path:
    """``$HILNAS_HOME``, ``$XDG_DATA_HOME/hilnas`` or ``~/.local/share/hilnas``."""
    given = os.environ.get("HILNAS_HOME")
    if given:
        return Path(given)
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "hilnas"


def local_admin_token() -> str | None:
    """The first admin token of this user's own server, where there is one and this user may read it."""
    try:
        return (default_home() / ADMIN_TOKEN_FILE).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
