"""Answers of the server as the JSON documents they are: for whoever shows them and needs no models of them.

Building the models takes longer than asking; a command that lists does without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from hilnas.client.core.paths import path_of
from hilnas.client.errors import ProtocolError
from hilnas.client.locating import Place
from nas_engine.domain.json_value import JsonValue

if TYPE_CHECKING:
    from hilnas.client.core.exchange import RetryPolicy
    from hilnas.client.transport import Params

MAX_PAGE = 200
Document = Mapping[str, Any]


class Documents:
    """One server, asked by path; paths are given in parts, which are percent-encoded here.

    Args:
        patience_s: longest wait for an answer, after one try; None waits and tries again as other clients do.
        retry: when to try again, where that is not the same; absent: as other clients do.
    """

    def __init__(self, place: Place, *, patience_s: float | None = None, retry: RetryPolicy | None = None) -> None:
        # Loaded here: what only names documents, as commands without a server do, needs no HTTP.
        from hilnas.client.core.exchange import RetryPolicy
        from hilnas.client.transport import Transport

        if patience_s is None:
            self._transport = Transport(place.url, place.token, retry=retry, found=place.url_from)
        else:
            once = RetryPolicy(max_attempts=1, first_s=patience_s)
            self._transport = Transport(place.url, place.token, timeout_s=patience_s, retry=once)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    def get(self, *parts: str, params: Params | None = None) -> Document:
        """Read one document."""
        return _mapping(self._transport.get(path_of(*parts), params))

    def act(self, *parts: str, verb: str, body: Document | None = None) -> Document:
        """Have something done to what a path names, such as ``:cancel``."""
        return _mapping(self._transport.post(path_of(*parts, verb=verb), None if body is None else dict(body)))

    def delete(self, *parts: str) -> None:
        """Delete what a path names."""
        self._transport.delete(path_of(*parts))

    def put(self, *parts: str, body: JsonValue) -> Document:
        """Replace what a path names."""
        return _mapping(self._transport.request("PUT", path_of(*parts), json_body=body).json())

    def items(self, *parts: str, params: Params | None = None, limit: int | None = None) -> Iterator[Document]:
        """Iterate over a listing, page by page as it is consumed."""
        page_token: str | None = None
        num = 0
        size = MAX_PAGE if limit is None else min(limit, MAX_PAGE)
        while limit is None or num < limit:
            page = self.get(*parts, params={**(params or {}), "page_size": size, "page_token": page_token})
            if not isinstance(page.get("items"), list):
                raise ProtocolError(f"{path_of(*parts)} did not answer with a page of items")
            for item in page["items"]:
                yield _mapping(item)
                num += 1
                if num == limit:
                    return
            page_token = page.get("next_page_token")
            if page_token is None:
                return


def _mapping(document: JsonValue) -> Document:
    if not isinstance(document, dict):
        raise ProtocolError("the server did not answer with a JSON object")
    return cast("Document", document)
