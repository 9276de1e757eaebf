"""Canonical JSON: the one text form under which values are hashed, compared and stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Union

JsonValue = Union[None, bool, int, float, str, Sequence["JsonValue"], Mapping[str, "JsonValue"]]
AS_DOCUMENT = {"use_attribute_docstrings": True, "allow_inf_nan": False}
"""`__pydantic_config__` of a value that is a document of the API as it stands: its fields' docstrings describe them."""


def canonical_json(value: JsonValue) -> str:
    """Text with sorted keys, no spaces and no non-finite numbers; equal values give equal text.

    Raises:
        ValueError: the value holds NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
