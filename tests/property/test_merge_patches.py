"""JSON merge patches: the examples of RFC 7396, and that differences are what a patch would have to change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.merge_patch import differences, merged

# RFC 7396, appendix A.
EXAMPLES: tuple[tuple[Any, Any, Any], ...] = (
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
)
VALUES = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2) | st.lists(st.integers(0, 3), max_size=2),
    lambda inner: st.dictionaries(st.text("xyz", min_size=1, max_size=1), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text("xyz", min_size=1, max_size=1), VALUES, max_size=3)


@pytest.mark.parametrize(("target", "patch", "result"), EXAMPLES)
def test_the_examples_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


@given(old=DOCUMENTS, new=DOCUMENTS)
def test_the_differences_of_two_documents_make_one_of_the_other(old: Any, new: Any) -> None:
    patched = old
    for path, before, after in differences(old, new):
        assert _at(old, path) == before
        patch: Any = after
        for name in reversed(path):
            patch = {name: patch}
        # A member that became another kind of value is replaced, not merged.
        cleared: Any = None
        for name in reversed(path):
            cleared = {name: cleared}
        patched = merged(merged(patched, cleared), patch)
    assert patched == new


@given(old=DOCUMENTS)
def test_equal_documents_differ_in_nothing(old: Any) -> None:
    assert list(differences(old, old)) == []
    assert merged(old, {}) == old


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document
