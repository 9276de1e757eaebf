"""JSON as it is written, in the one text form that is hashed and compared, and as it is read from outside, bounded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Union, cast

JsonValue = Union[None, bool, int, float, str, Sequence["JsonValue"], Mapping[str, "JsonValue"]]
AS_DOCUMENT = {"use_attribute_docstrings": True, "allow_inf_nan": False}
"""`__pydantic_config__` of a value that is a document of the API as it stands: its fields' docstrings describe them."""
MAX_DEPTH = 64
"""Lists and objects inside each other; our deepest document, a search with a schedule, has under ten."""

MAX_INTEGER = 2**63 - 1


def canonical_json(value: JsonValue) -> str:
    """Text with sorted keys, no spaces and no non-finite numbers; equal values give equal text.

    Raises:
        ValueError: the value holds NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def parse_json(text: str | bytes) -> JsonValue:
    """Read a document.

    Raises:
        ValueError: it is no JSON, or holds what cannot be stored: a number that is not finite, an integer of more than
            64 bits, the character U+0000, half of a surrogate pair, a name twice in one object (RFC 8259, section 4:
            readers disagree on which one counts), or more than `MAX_DEPTH` levels.
    """
    try:
        document = json.loads(
            text, parse_constant=_not_finite, parse_int=_integer, parse_float=_finite, object_pairs_hook=_object
        )
    except RecursionError as error:
        raise ValueError(f"more than {MAX_DEPTH} levels of lists and objects") from error
    check_json(document)
    return cast(JsonValue, document)


def check_json(document: object) -> None:
    """Refuse a document of plain JSON values that could not be stored or shown again. Raises ValueError."""
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        inner: list[object] = []
        for value in level:
            match value:
                case str():
                    _check_text(value)
                case dict():
                    inner += value.keys()
                    inner += value.values()
                case list() | tuple():
                    inner += value
                case _:
                    pass
        level = inner
    if level:
        raise ValueError(f"more than {MAX_DEPTH} levels of lists and objects")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("the character U+0000, which no text here may hold")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half of a surrogate pair at character {error.start}, which is no text") from error


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(members)
    if len(document) != len(members):
        seen: set[str] = set()
        for name, _ in members:
            if name in seen:
                raise ValueError(f"an object names {name[:40]!r} twice: give each name once")
            seen.add(name)
    return document


def _not_finite(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number: only finite numbers are taken")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is beyond the largest number: only finite numbers are taken")
    return value


def _integer(text: str) -> int:
    if len(text) > 20 or abs(value := int(text)) > MAX_INTEGER:
        raise ValueError(f"{text[:40]} has more than 64 bits: larger integers are not taken")
    return value
