"""Reading spec bodies: JSON documents whose every wrong place is reported with a pointer."""

from __future__ import annotations

import json
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from nas_engine.domain.json_value import JsonValue
from server.core.http.problem_types import MALFORMED_REQUEST, UNSUPPORTED_MEDIA_TYPE
from server.core.http.problems import Problem


async def _json_document(request: Request) -> JsonValue:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        detail = f"the body is {content_type or 'of no declared type'}: send application/json"
        raise Problem(UNSUPPORTED_MEDIA_TYPE, detail)
    try:
        document = cast(JsonValue, json.loads(await request.body(), parse_constant=_refuse))
        # Text that no database can hold: lone surrogates and NUL.
        text = json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Problem(MALFORMED_REQUEST, f"the body is not JSON: {error}") from error
    if b"\\u0000" in text:
        raise Problem(MALFORMED_REQUEST, "the body holds the character U+0000, which no text here may hold")
    return document


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number: only finite numbers are taken")


JsonDocument = Annotated[JsonValue, Depends(_json_document)]
"""The request's body as plain JSON."""
