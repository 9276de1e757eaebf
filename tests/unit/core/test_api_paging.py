"""Page tokens are opaque, honest and bound to their query; ETags speak of content."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from server.core.http.conditional import check_if_match, etag_of, matches, not_modified
from server.core.http.paging import PageTokens, Paging, page_in_memory
from server.core.http.problems import Problem
from server.core.paging import PageRequest

_TOKENS = PageTokens(b"k" * 32)
_QUERY = {"order_by": "-created_at", "state": "running"}
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


def _request(headers: dict[str, str] | None = None, query: str = "") -> Request:
    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "GET", "path": "/api/v1/x", "query_string": query.encode(), "headers": raw}
    return Request(scope)


@given(position=_json)
def test_a_token_gives_its_position_back(position: object) -> None:
    token = _TOKENS.encode(position, _QUERY)  # type: ignore[arg-type]
    assert _TOKENS.decode(token, _QUERY) == position


@given(token=st.text(max_size=80))
def test_any_other_text_is_refused(token: str) -> None:
    with pytest.raises(Problem) as caught:
        _TOKENS.decode(token, _QUERY)
    assert caught.value.type.slug == "invalid-page-token"


@pytest.mark.parametrize("query", [{}, {**_QUERY, "state": "paused"}, {**_QUERY, "device": "x"}])
def test_a_token_of_another_query_is_refused(query: dict[str, str]) -> None:
    token = _TOKENS.encode([1, "srch_1"], _QUERY)
    with pytest.raises(Problem, match="other filters"):
        _TOKENS.decode(token, query)


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(Problem, match="another server"):
        PageTokens(b"other" * 8).decode(_TOKENS.encode(1, _QUERY), _QUERY)


def test_the_next_link_keeps_the_filters_and_swaps_the_token() -> None:
    response = Response()
    paging = Paging(_request(query="state=running&state=paused&page_token=old"), response, _TOKENS)
    listing = paging.listing(page_in_memory(["a", "b"], str, PageRequest(1)), [])
    expected = f'</api/v1/x?state=running&state=paused&page_token={listing.next_page_token}>; rel="next"'
    assert response.headers["Link"] == expected


def test_equal_content_has_an_equal_tag() -> None:
    assert etag_of('{"a":1}') == etag_of('{"a":1}') != etag_of('{"a":2}')


@pytest.mark.parametrize(("header", "expected"), [('"x"', True), ('"y", W/"x"', True), ("*", True), ('"y"', False)])
def test_header_lists_of_tags_are_read(header: str, expected: bool) -> None:
    assert matches(header, '"x"') is expected


def test_what_the_client_has_is_not_sent_again() -> None:
    response = not_modified(_request({"If-None-Match": '"x"'}), '"x"')
    assert response is not None
    assert (response.status_code, response.headers["etag"]) == (304, '"x"')
    assert not_modified(_request(), '"x"') is None


def test_a_change_decided_on_an_old_state_is_refused() -> None:
    check_if_match(_request({"If-Match": '"x"'}), '"x"')
    check_if_match(_request(), '"x"')
    with pytest.raises(Problem) as caught:
        check_if_match(_request({"If-Match": '"old"'}), '"x"')
    assert caught.value.type.slug == "precondition-failed"
