"""References in requests: a name, a number or a part of an id stands wherever an id is taken."""

from __future__ import annotations

from starlette.datastructures import QueryParams
from starlette.requests import Request

from nas_engine.domain.json_value import JsonValue
from server.core.database.references import References
from server.core.http.provide import provided_of


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
