"""ASGI guards in front of every route: which host names we answer to, who may post, how much may be sent.

DNS rebinding and cross-site posts are how a browser is turned against a service on its user's own network
(mlflow #17910); both are refused before any route runs, with authentication on or off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.core.http.problem_types import CONTENT_TOO_LARGE, FOREIGN_ORIGIN, MALFORMED_REQUEST, UNKNOWN_HOST
from server.core.http.problems import PROBLEM_MEDIA_TYPE, Problem, problem_document
from server.core.http.provide import SLASH_OF_A_NAME
from server.core.http.request_context import request_id_of

# A name or an address, and a port: no user names, no paths, no spaces (RFC 9110, 7.2).
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Largest accepted request bodies.

    Attributes:
        default_bytes: for every route not named below.
        by_prefix: larger (or smaller) limits for paths that begin with a prefix.
    """

    default_bytes: int = 1 << 20
    by_prefix: Mapping[str, int] = field(default_factory=dict)

    def limit_bytes(self, path: str) -> int:
        """The limit of one path."""
        return next((limit for prefix, limit in self.by_prefix.items() if path.startswith(prefix)), self.default_bytes)


class NamesInPaths:
    """Keeps the slash of a name, which was sent percent-encoded, from parting the path: it is put back where the name
    is read (`{id}` in `server.core.http.provide`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, with something else in the place of such slashes."""
        raw = scope.get("raw_path") if scope["type"] == "http" else None
        if isinstance(raw, bytes) and _ENCODED_SLASH.search(raw):
            parts = (unquote_to_bytes(part) for part in _ENCODED_SLASH.split(raw.partition(b"?")[0]))
            path = SLASH_OF_A_NAME.join(part.decode("utf-8", "replace") for part in parts)
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)


class HostAndOriginGuard:
    """Refuses unknown Host headers, and unsafe requests that another site's page sends.

    Args:
        allowed_hosts: host names without port; ``*`` allows any, ``*.example.com`` every subdomain.
        allowed_origins: further origins (``https://nas.example.com``) that may send unsafe requests.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: tuple[str, ...], allowed_origins: tuple[str, ...] = ()) -> None:
        self._app = app
        self._hosts = tuple(host.lower() for host in allowed_hosts)
        self._origins = tuple(origin.lower().rstrip("/") for origin in allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await send_problem(problem, scope, send)

    def _problem(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) > 1 or not all(one == "" or _HOST.fullmatch(one) for one in hosts):
            detail = f"the Host header is {', '.join(map(repr, hosts))}: send one host name, and a port where needed"
            return Problem(MALFORMED_REQUEST, detail)
        host = headers.get("host", "")
        if not self._knows(host):
            return Problem(UNKNOWN_HOST, f"this server does not answer as {host!r}")
        origin = headers.get("origin")
        if scope["method"] in _SAFE_METHODS or origin is None:
            return None
        if _same_host(origin, host) or origin.lower().rstrip("/") in self._origins:
            return None
        return Problem(FOREIGN_ORIGIN, f"pages of {origin!r} may not send {scope['method']} requests here")

    def _knows(self, host_header: str) -> bool:
        if "*" in self._hosts:
            return True
        try:
            host = (urlsplit(f"//{host_header}").hostname or "").lower()
        except ValueError:
            return False
        return any(
            host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:])) for pattern in self._hosts
        )


def _same_host(origin: str, host_header: str) -> bool:
    try:
        parts = urlsplit(origin)
        target = urlsplit(f"//{host_header}")
        default = _DEFAULT_PORTS.get(parts.scheme)
        same_port = (parts.port or default) == (target.port or default)
    except ValueError:
        return False
    return parts.hostname is not None and parts.hostname == target.hostname and same_port


class BodyLimitGuard:
    """Refuses bodies above the limit, at once where Content-Length tells, else while they stream in."""

    def __init__(self, app: ASGIApp, limits: BodyLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limits.limit_bytes(scope["path"])
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit:
            detail = f"the body has {declared} bytes, at most {limit} are taken here"
            await send_problem(Problem(CONTENT_TOO_LARGE, detail), scope, send)
            return
        await self._app(scope, _limited(receive, limit), send)


def _limited(receive: Receive, limit_bytes: int) -> Receive:
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit_bytes:
            # An HTTPException, because FastAPI turns any other error met while reading a body into a 400.
            raise HTTPException(413, f"the body has more than {limit_bytes} bytes, which is the limit here")
        return message

    return limited


async def send_problem(problem: Problem, scope: Scope, send: Send) -> None:
    """Answer one request with a problem, below the framework."""
    body = json.dumps(problem_document(problem, request_id_of(scope))).encode()
    headers = [(b"content-type", PROBLEM_MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    await send({"type": "http.response.start", "status": int(problem.type.status), "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
