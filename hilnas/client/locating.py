"""Which server, and with which token: the one place where SDK and commands find both, and where they were found.

The address: what was given, else ``HILNAS_URL``, else what the user's own server wrote into ``server.json`` of its home
folder (``HILNAS_HOME``), else `DEFAULT_URL`. The token: what was given, else ``HILNAS_TOKEN``, else, for one's own
server or any on this machine, the ``admin.token`` in that folder.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from hilnas.client.errors import ServerAddressError
from server.core.home import ADMIN_TOKEN_FILE, SERVER_FILE, default_home, local_admin_token

DEFAULT_URL = "http://127.0.0.1:8080"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# A server that listens everywhere says so; it is dialled on this machine.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}


_SENDABLE = re.compile(r"[\x21-\x7e]+")  # in a header


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A server and what opens it.

    Attributes:
        url: of the server.
        url_from: where that was found, for people.
        token: None where there is none.
        token_from: where that was found, or where it was looked for.
    """

    url: str
    url_from: str
    token: str | None = field(repr=False)
    token_from: str


def locate(url: str | None = None, token: str | None = None) -> Place:
    """Find the server, and the token for it; what is given wins.

    Raises:
        ServerAddressError: what was found is no address, or no token.
    """
    home = default_home()
    is_own = False
    if url:
        found, url_from = url, "as given"
    elif of_environment := os.environ.get("HILNAS_URL"):
        found, url_from = of_environment, "from HILNAS_URL"
    elif written := _written_url(home / SERVER_FILE):
        found, url_from, is_own = written, f"from {home / SERVER_FILE}", True
    else:
        found, url_from = DEFAULT_URL, f"the default, as there is no HILNAS_URL and no {home / SERVER_FILE}"
    found = _with_scheme(found, url_from)
    is_own = is_own or urlsplit(found).hostname in _LOOPBACK
    if token:
        token_from = "as given"
    elif token := os.environ.get("HILNAS_TOKEN") or None:
        token_from = "from HILNAS_TOKEN"
    elif is_own and (token := local_admin_token()):
        token_from = f"from {home / ADMIN_TOKEN_FILE}"
    else:
        token = None
        token_from = f"none in HILNAS_TOKEN{f' or {home / ADMIN_TOKEN_FILE}' if is_own else ''}"
    if token is not None and not _SENDABLE.fullmatch(token):
        raise ServerAddressError(
            f"the token ({token_from}) cannot be one: tokens are letters, digits and signs of ASCII"
        )
    return Place(url=found, url_from=url_from, token=token, token_from=token_from)


def _with_scheme(url: str, url_from: str) -> str:
    """An address as requests need it; ``HOST:PORT`` alone means ``http``. Raises ServerAddressError."""
    whole = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(whole)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, brackets that do not close
        is_one = False
    if not is_one or any(character.isspace() for character in whole):
        raise ServerAddressError(f"{url!r} ({url_from}) is no address of a server: write it as {DEFAULT_URL}")
    return whole


def _written_url(path: Path) -> str | None:
    """The address that a server wrote; None where none has, or it cannot be read."""
    try:
        url = json.loads(path.read_text(encoding="ascii"))["http_url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(url, str):
        return None
    for everywhere, here in _EVERYWHERE.items():
        url = url.replace(f"//{everywhere}:", f"//{here}:")
    return url
