"""Strong ETags and the conditional headers that go with them (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from server.core.http.problem_types import PRECONDITION_FAILED
from server.core.http.problems import Problem
from server.core.http.resources import Resource

_VERSION_ETAG = re.compile(r'"v([0-9]{1,18})"')
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "It is what If-None-Match names."}}
"""Goes into `responses` of routes that answer with `tagged`."""


def etag_of(content: str) -> str:
    """A strong entity tag of what is sent."""
    return f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'


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


def tagged(request: Request, resource: Resource, etag: str | None = None) -> Response:
    """A resource with its entity tag, or 304 where the client has it; the tag is made of the content if absent."""
    content = resource.model_dump_json()  # once: a front of thousands takes as long to write as to find
    etag = etag or etag_of(content)
    if (unchanged := not_modified(request, etag)) is not None:
        return unchanged
    return Response(content, media_type="application/json", headers={"ETag": etag})


def version_etag(version: int) -> str:
    """Entity tag of a resource whose row counts its changes."""
    return f'"v{version}"'


def expected_version(request: Request) -> int | None:
    """The row version that If-Match names; None where any will do.

    Raises:
        Problem: precondition-failed; the tag is none that this resource ever had.
    """
    header = request.headers.get("if-match")
    if header is None or header.strip() == "*":
        return None
    found = _VERSION_ETAG.fullmatch(header.strip())
    if found is None:
        raise Problem(PRECONDITION_FAILED, f"If-Match is {header}: give the one ETag that the resource was read with")
    return int(found[1])


def check_if_match(request: Request, etag: str) -> None:
    """Refuse a change that was decided on an older state.

    Raises:
        Problem: precondition-failed.
    """
    header = request.headers.get("if-match")
    if header is not None and not matches(header, etag):
        detail = f"If-Match is {header}, the resource is now {etag}: read it again"
        raise Problem(PRECONDITION_FAILED, detail, headers={"ETag": etag})
