"""Strong ETags and the conditional headers that go with them (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import Response

from nas_engine.domain.json_value import JsonValue, canonical_json
from server.api.problem_types import PRECONDITION_FAILED
from server.api.problems import Problem


def etag_of(content: JsonValue) -> str:
    """A strong entity tag of what is shown."""
    return f'"{hashlib.sha256(canonical_json(content).encode()).hexdigest()[:32]}"'


def matches(header: str | None, etag: str) -> bool:
    """Whether an If-Match or If-None-Match header names `etag`; weak tags compare by their value."""
    if header is None:
        return False
    names = [name.strip().removeprefix("W/") for name in header.split(",")]
    return "*" in names or etag in names


def not_modified(request: Request, etag: str) -> Response | None:
    """The 304 for a request whose If-None-Match names the current tag, else None."""
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={"ETag": etag})
    return None


def check_if_match(request: Request, etag: str) -> None:
    """Refuse a change that was decided on an older state.

    Raises:
        Problem: precondition-failed.
    """
    header = request.headers.get("if-match")
    if header is not None and not matches(header, etag):
        detail = f"If-Match is {header}, the resource is now {etag}: read it again"
        raise Problem(PRECONDITION_FAILED, detail, headers={"ETag": etag})
