"""Request ids, W3C trace context, and the last line of defence against an unexpected error.

One pure ASGI middleware outside of all others: it names the request, binds the names to every log line,
echoes them in the response, counts the response, and answers an escaped exception with a problem document.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import dataclass
from typing import Protocol

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.core.http.problem_types import INTERNAL_ERROR
from server.core.http.problems import PROBLEM_MEDIA_TYPE, Problem, problem_document

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds by machines
_CLIENT_LEFT = 499  # as nginx counts it: the client closed before there was a response
_log = structlog.get_logger("hilnas.http")


class ResponseObserver(Protocol):
    """Is notified of every finished response (metrics)."""

    def observe(self, method: str, route: str, status: int, duration_s: float) -> None:
        """One response; `route` is the path's template, never the path itself."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The caller's trace, continued with a span of our own (W3C Trace Context, section 3.2)."""

    trace_id: str
    span_id: str
    flags: str

    @classmethod
    def of(cls, header: str | None) -> TraceContext:
        """Continue the trace of a ``traceparent`` header; begin one where it is missing or malformed."""
        match = _TRACEPARENT.fullmatch(header or "")
        if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
            return cls(secrets.token_hex(16), secrets.token_hex(8), "00")
        return cls(match[1], secrets.token_hex(8), match[3])

    @property
    def header(self) -> str:
        """Value of the ``traceparent`` header."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def request_id_of(scope: Scope) -> str:
    """The id of the request, as given by the caller or made here."""
    value = scope.get("state", {}).get("request_id", "unknown")
    return str(value)


class RequestContextMiddleware:
    """Names, times and guards every HTTP request."""

    def __init__(self, app: ASGIApp, observer: ResponseObserver) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        trace = TraceContext.of(headers.get("traceparent"))
        scope.setdefault("state", {})["request_id"] = request_id
        response = _ResponseSender(send, request_id, trace)
        start_s = time.monotonic()
        with structlog.contextvars.bound_contextvars(request_id=request_id, trace_id=trace.trace_id):
            try:
                await self._app(scope, receive, response)
            except Exception as error:
                _log.error("request failed", path=scope["path"], method=scope["method"], exc_info=error)
                if response.status is not None:
                    raise
                await response.fail(request_id)
            duration_s = time.monotonic() - start_s
            route = str(getattr(scope.get("route"), "path", "unmatched"))
            if route not in _QUIET:
                _log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=response.status,
                    duration_ms=round(duration_s * 1e3, 1),
                )
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        self._observer.observe(method, route, response.status or _CLIENT_LEFT, duration_s)


class _ResponseSender:
    """Adds the names to the response's headers and remembers its status."""

    def __init__(self, send: Send, request_id: str, trace: TraceContext) -> None:
        self._send = send
        self._request_id = request_id
        self._trace = trace
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            headers["traceparent"] = self._trace.header
        await self._send(message)

    async def fail(self, request_id: str) -> None:
        """Answer 500; the cause stays in the log."""
        problem = Problem(INTERNAL_ERROR, "an unexpected error was logged under this request's id")
        body = json.dumps(problem_document(problem, request_id)).encode()
        headers = [(b"content-type", PROBLEM_MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
        await self({"type": "http.response.start", "status": 500, "headers": headers})
        await self({"type": "http.response.body", "body": body})
