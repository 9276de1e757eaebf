"""Architectures, genes and layer graphs as JSON documents, and back: how they pass between processes.

A tuple is a list, a value an object that names its class; what is a JSON document of its own is set apart. Only the
classes listed here are read, so that a document can make nothing else.
"""

from __future__ import annotations

import dataclasses
from enum import Enum
from numbers import Integral, Real
from typing import Any, cast

from nas_engine.domain import layer_graph, search_space
from nas_engine.domain.architecture import Architecture
from nas_engine.domain.json_value import JsonValue


def _is_enum(kind: type[Any]) -> bool:
    return issubclass(kind, Enum)


_CLASS, _OWN = "=", "json"
_VALUES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        Architecture,
        *(vars(module)[name] for module in (layer_graph, search_space) for name in vars(module)),
    )
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or (_is_enum(kind) and kind is not Enum))
}


_FIELDS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(field.name for field in dataclasses.fields(kind)) for kind in _VALUES.values() if not _is_enum(kind)
}
_PLAIN = frozenset((int, float, str, bool, type(None)))


def to_document(value: object) -> JsonValue:
    """Write a value. By exact classes: graphs have thousands of values, and a subclass is another class.

    Raises:
        TypeError: it holds something that is none of the values of hilnas.
    """
    kind = type(value)
    if kind in _PLAIN:
        return cast(JsonValue, value)
    if kind is tuple:
        return [to_document(one) for one in cast("tuple[object, ...]", value)]
    if kind in _FIELDS:
        return {_CLASS: kind.__name__, "value": [to_document(getattr(value, name)) for name in _FIELDS[kind]]}
    if _VALUES.get(kind.__name__) is kind:
        return {_CLASS: kind.__name__, "value": cast(Enum, value).value}
    match value:
        case list() | dict():
            return {_CLASS: _OWN, "value": value}
        case Integral():  # numpy's
            return int(value)
        case Real():
            return float(value)
        case str():
            return str(value)
        case tuple():  # a named one
            return [to_document(one) for one in value]
    raise TypeError(f"{kind.__module__}.{kind.__name__} is none of the values of hilnas")


def from_document(document: JsonValue) -> Any:
    """Read what `to_document` wrote."""
    kind = type(document)
    if kind in _PLAIN:
        return document
    if kind is list:
        return tuple([from_document(one) for one in cast("list[JsonValue]", document)])
    read = cast("dict[str, Any]", document)
    name, held = read[_CLASS], read["value"]
    if name == _OWN:
        return held
    made = _VALUES[name]
    fields = _FIELDS.get(made)
    if fields is None:
        return made(held)
    return made(**dict(zip(fields, [from_document(one) for one in held], strict=True)))
