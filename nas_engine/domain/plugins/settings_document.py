"""Settings as the JSON document that they can be read from again, whichever of the two kinds they are."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any, cast

from nas_engine.domain.json_value import JsonValue


def settings_document(settings: Any) -> dict[str, JsonValue]:
    """Write settings with their defaults, a dataclass or a pydantic model; of none an empty document."""
    if settings is None:
        return {}
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {name: _plain(value) for name, value in dataclasses.asdict(settings).items()}
    return cast("dict[str, JsonValue]", settings.model_dump(mode="json"))


def _plain(value: Any) -> JsonValue:
    match value:
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(one) for one in value]
        case Enum():
            return _plain(value.value)
        case _:
            return cast(JsonValue, value)
