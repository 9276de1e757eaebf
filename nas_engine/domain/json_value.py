"""Canonical JSON: the one text form under which values are hashed, compared and stored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Union

JsonValue = Union[None, bool, int, float, str, Sequence["JsonValue"], Mapping[str, "JsonValue"]]


def canonical_json(value: JsonValue) -> str:
    """Text with sorted keys, no spaces and no non-finite numbers; equal values give equal text.

    Raises:
        ValueError: the value holds NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
