"""How a listing is answered: the same paging for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from nas_engine.domain.json_value import JsonValue
from server.core.errors import InvalidValueError
from server.core.http.paging import PageTokens, next_link
from server.core.http.problem_types import INVALID_PAGE_TOKEN
from server.core.http.problems import FieldError, Problem
from server.core.http.queries import ListQuery
from server.core.http.resources import Listing, Resource
from server.core.paging import Page, PageRequest, Position

V = TypeVar("V")
R = TypeVar("R", bound=Resource)
_NOT_A_FILTER = frozenset({"page_token", "page_size", "include_total"})


def page_request(request: Request, query: ListQuery, tokens: PageTokens) -> PageRequest:
    """Which page is asked for.

    Raises:
        Problem: invalid-page-token.
    """
    if query.page_token is None:
        return PageRequest(query.page_size)
    position = tokens.decode(query.page_token, bound_query(request))
    try:
        return PageRequest(query.page_size, Position.from_json(position))
    except InvalidValueError as error:
        places = (FieldError(str(error), parameter="page_token"),)
        raise Problem(INVALID_PAGE_TOKEN, str(error), errors=places) from error


def answer_page(
    request: Request,
    response: Response,
    tokens: PageTokens,
    page: Page[V],
    items: Sequence[R],
    total: int | None = None,
) -> Listing[R]:
    """The listing of one page, with its Link header."""
    token = None
    if page.next is not None:
        token = tokens.encode(page.next.to_json(), bound_query(request))
        response.headers["Link"] = next_link(request, token)
    return Listing(items=list(items), next_page_token=token, total=total)


def page_response(
    request: Request, tokens: PageTokens, page: Page[V], items: Sequence[R], total: int | None = None
) -> Response:
    """`answer_page` as a response, for routes that answer with other media types too."""
    response = Response(media_type="application/json")
    listing = answer_page(request, response, tokens, page, items, total)
    headers = {"Link": response.headers["Link"]} if "Link" in response.headers else {}
    return Response(listing.model_dump_json(), media_type="application/json", headers=headers)


def page_in_memory(values: Sequence[V], key: Callable[[V], str], wanted: PageRequest) -> Page[V]:
    """A page of a short list; `key` names a value uniquely. A value that is gone starts the list over."""
    start = 0
    if wanted.after is not None:
        start = next((i + 1 for i, value in enumerate(values) if key(value) == wanted.after.id), 0)
    items = tuple(values[start : start + wanted.size])
    more = start + wanted.size < len(values)
    return Page(items, Position(None, key(items[-1])) if more else None)


def labels_of(texts: Sequence[str]) -> dict[str, str]:
    """Label filters ``name:value`` as a mapping."""
    return {name: value for name, _, value in (text.partition(":") for text in texts)}


def bound_query(request: Request) -> JsonValue:
    """What a page token is bound to: the path and every filter."""
    filters = sorted((name, value) for name, value in request.query_params.multi_items() if name not in _NOT_A_FILTER)
    return {"path": request.url.path, "filters": [list(pair) for pair in filters]}
