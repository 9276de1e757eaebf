"""What routes read of a request besides its fields: a JSON document, the media type wanted, what names mean."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.datastructures import QueryParams
from starlette.requests import Request

from nas_engine.domain.json_value import JsonValue, parse_json
from server.core.database.references import References
from server.core.http.problem_types import MALFORMED_REQUEST, NOT_ACCEPTABLE, UNSUPPORTED_MEDIA_TYPE
from server.core.http.problems import Problem
from server.core.http.provide import provided_of

JSON = "application/json"
CSV = "text/csv"
NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"


async def _json_document(request: Request) -> JsonValue:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        detail = f"the body is {content_type or 'of no declared type'}: send application/json"
        raise Problem(UNSUPPORTED_MEDIA_TYPE, detail)
    try:
        return parse_json(await request.body())
    except ValueError as error:
        raise Problem(MALFORMED_REQUEST, f"the body is not JSON that can be stored: {error}") from error


JsonDocument = Annotated[JsonValue, Depends(_json_document)]
"""The request's body as plain JSON."""


def preferred(request: Request, *offered: str) -> str:
    """The offered type with the highest weight; the first offered one where the client does not care.

    Raises:
        Problem: not-acceptable.
    """
    header = request.headers.get("accept", "*/*")
    weights = [(_weight(header, media_type), -index, media_type) for index, media_type in enumerate(offered)]
    weight, _, best = max(weights)
    if weight <= 0:
        raise Problem(NOT_ACCEPTABLE, f"Accept is {header!r}; this can be answered as {', '.join(offered)}")
    return best


def _weight(header: str, media_type: str) -> float:
    """Weight of the most specific range that covers `media_type`; 0 where none does."""
    found = (0, 0.0)
    for item in header.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        specificity = {media_type: 3, media_type.partition("/")[0] + "/*": 2, "*/*": 1}.get(name, 0)
        if specificity > found[0]:
            found = (specificity, _quality(parameters))
    return found[1]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def resolved_document(request: Request, document: JsonValue) -> JsonValue:
    """Give a request's document with ids in place of what names them.

    Raises:
        AmbiguousReferenceError: a reference means several things.
    """
    return provided_of(request).get(References).resolved_document(document)


def resolve_references(request: Request) -> None:
    """Put ids in place of what names them, in the path and in the filters of a request, before its route reads them.

    What names nothing stays: the route says that there is no such thing, or lists nothing.

    Raises:
        AmbiguousReferenceError: a reference means several things.
    """
    references = provided_of(request).get(References)
    path = request.scope.get("path_params", {})
    for name, value in path.items():
        if isinstance(value, str):
            path[name] = references.resolved(name, value)
    given = request.query_params.multi_items()
    meant = [(name, references.resolved(name, value)) for name, value in given]
    if meant != given:
        request._query_params = QueryParams(meant)  # where Starlette keeps what it has read: routes read it there
