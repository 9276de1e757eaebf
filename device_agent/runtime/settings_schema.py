"""JSON schemas of the settings of runtimes: dataclasses, read without pydantic, which boards have not."""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import Enum
from typing import Any

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.plugins.declarations import RuntimeDeclaration
from nas_engine.domain.plugins.doors import Brought

_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", types.NoneType: "null", dict: "object"}


def settings_schema(found: Brought[RuntimeDeclaration]) -> dict[str, JsonValue]:
    """Write the JSON schema of what `--runtime-settings` takes for a runtime.

    Those that ship take options of the command line instead, so that theirs has no properties.
    """
    kind: Any = None if found.is_built_in else found.declaration.settings
    properties: dict[str, JsonValue] = {}
    required: list[JsonValue] = []
    hints = {} if kind is None else typing.get_type_hints(kind)
    for field in () if kind is None else dataclasses.fields(kind):
        schema = _schema(hints[field.name])
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(field.name)
        elif isinstance(field.default, bool | int | float | str | None):
            schema["default"] = field.default
        properties[field.name] = schema
    found_schema: dict[str, JsonValue] = {
        "title": "Settings" if kind is None else kind.__name__,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return found_schema | ({"required": required} if required else {})


def _schema(hint: Any) -> dict[str, JsonValue]:
    """Write the schema of one annotation; what is none of JSON's types is anything."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(one) for one in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    bare = origin or hint
    if bare in (list, tuple):
        items = [one for one in arguments if one is not ...]
        return {"type": "array", **({"items": _schema(items[0])} if len(set(items)) == 1 else {})}
    return {"type": _NAMES[bare]} if bare in _NAMES else {}
