"""Opaque page tokens for keyset paging.

A token carries the position after the last item of a page and is bound, by an HMAC, to the query it was made
for: with other filters or another order it is refused instead of skipping or repeating items.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import cast
from urllib.parse import urlencode

from starlette.requests import Request

from nas_engine.domain.json_value import JsonValue, canonical_json
from server.core.http.problem_types import INVALID_PAGE_TOKEN
from server.core.http.problems import FieldError, Problem

_MAC_BYTES = 16


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


def next_link(request: Request, next_page_token: str) -> str:
    """The Link header (RFC 8288) of the next page: this request's query with the token put in."""
    pairs = [(name, value) for name, value in request.query_params.multi_items() if name != "page_token"]
    query = urlencode([*pairs, ("page_token", next_page_token)])
    return f'<{request.url.path}?{query}>; rel="next"'
