"""Keyset paging, the same for every listing.

A page token carries the position after the last item of a page and is bound, by an HMAC, to the query it was made
for: with other filters or another order it is refused instead of skipping or repeating items.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar, cast
from urllib.parse import urlencode

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from nas_engine.domain.json_value import JsonValue, canonical_json
from server.core.errors import InvalidValueError
from server.core.http.problem_types import INVALID_PAGE_TOKEN
from server.core.http.problems import FieldError, Problem
from server.core.http.provide import path_as_sent, provided_of
from server.core.http.resources import Listing, ListQuery, Resource
from server.core.paging import Page, PageRequest, Position

V = TypeVar("V")
R = TypeVar("R", bound=Resource)
_MAC_BYTES = 16
_NOT_A_FILTER = frozenset({"page_token", "page_size", "include_total"})


class PageTokens:
    """Makes and reads page tokens. Replicas must share `key`, or a page asked of another replica is refused."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.blake2b(key, person=b"hilnas-page").digest()

    def encode(self, position: JsonValue, query: JsonValue) -> str:
        """Token for the page after `position` of the listing described by `query`."""
        payload = canonical_json(position).encode()
        return base64.urlsafe_b64encode(self._mac(payload, query) + payload).decode().rstrip("=")

    def decode(self, token: str, query: JsonValue) -> JsonValue:
        """The position inside a token.

        Raises:
            Problem: invalid-page-token; forged, damaged, or made for another query.
        """
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (binascii.Error, ValueError) as error:
            raise _invalid("it is not one of this server's tokens") from error
        mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload, query)):
            raise _invalid("it was made for other filters or another order, or by another server")
        return cast(JsonValue, json.loads(payload))

    def _mac(self, payload: bytes, query: JsonValue) -> bytes:
        bound = hashlib.sha256(canonical_json(query).encode()).digest()
        return hmac.digest(self._key, bound + payload, "sha256")[:_MAC_BYTES]


def _invalid(reason: str) -> Problem:
    error = FieldError(reason, parameter="page_token")
    return Problem(INVALID_PAGE_TOKEN, f"page_token cannot be used: {reason}", errors=(error,))


class Paging:
    """The paging of one request: which page it asks for, and how the page is answered."""

    def __init__(self, request: Request, response: Response, tokens: PageTokens) -> None:
        self._request = request
        self._response = response
        self._tokens = tokens

    def wanted(self, query: ListQuery) -> PageRequest:
        """Which page is asked for.

        Raises:
            Problem: invalid-page-token.
        """
        if query.page_token is None:
            return PageRequest(query.page_size)
        position = self._tokens.decode(query.page_token, self._bound_query())
        try:
            return PageRequest(query.page_size, Position.from_json(position))
        except InvalidValueError as error:
            places = (FieldError(str(error), parameter="page_token"),)
            raise Problem(INVALID_PAGE_TOKEN, str(error), errors=places) from error

    def next_token(self, page: Page[V]) -> str | None:
        """Token of the page after this one; None on the last one."""
        return None if page.next is None else self._tokens.encode(page.next.to_json(), self._bound_query())

    def listing(self, page: Page[V], items: Sequence[R], total: int | None = None) -> Listing[R]:
        """The listing of one page; its Link header goes into the response."""
        token = self.next_token(page)
        if token is not None:
            # RFC 8288: this request's query with the token put in.
            pairs = [(name, value) for name, value in self._request.query_params.multi_items() if name != "page_token"]
            query = urlencode([*pairs, ("page_token", token)])
            self._response.headers["Link"] = f'<{path_as_sent(self._request)}?{query}>; rel="next"'
        return Listing(items=list(items), next_page_token=token, total=total)

    def answer(self, page: Page[V], items: Sequence[R], total: int | None = None) -> Response:
        """`listing` as a response, for routes that answer with other media types too."""
        content = self.listing(page, items, total).model_dump_json()
        headers = {"Link": self._response.headers["Link"]} if "Link" in self._response.headers else {}
        return Response(content, media_type="application/json", headers=headers)

    def _bound_query(self) -> JsonValue:
        """What a page token is bound to: the path and every filter."""
        parameters = self._request.query_params.multi_items()
        filters = sorted((name, value) for name, value in parameters if name not in _NOT_A_FILTER)
        return {"path": self._request.url.path, "filters": [list(pair) for pair in filters]}


async def _paging(request: Request, response: Response) -> Paging:
    return Paging(request, response, provided_of(request).get(PageTokens))


PagingDep = Annotated[Paging, Depends(_paging)]


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
