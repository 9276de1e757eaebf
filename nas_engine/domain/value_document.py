"""Architectures, genes and layer graphs as JSON documents, and back: how they pass between processes.

A tuple is a list, a value an object that names its class; what is a JSON document of its own is set apart. Only the
classes listed here are read, so that a document can make nothing else.
"""

from __future__ import annotations

import dataclasses
from enum import Enum
from functools import lru_cache
from numbers import Integral, Real
from typing import Any

from nas_engine.domain import layer_graph, search_space
from nas_engine.domain.architecture import Architecture
from nas_engine.domain.json_value import JsonValue

_CLASS, _OWN = "=", "json"
_VALUES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        Architecture,
        *(vars(module)[name] for module in (layer_graph, search_space) for name in vars(module)),
    )
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or (issubclass(kind, Enum) and kind is not Enum))
}


@lru_cache(maxsize=256)
def _names(kind: type[Any]) -> tuple[str, ...] | None:
    """Fields of a class that is known here; None of every other, subclasses of known ones too."""
    if _VALUES.get(kind.__name__) is not kind:
        return None
    return () if issubclass(kind, Enum) else tuple(field.name for field in dataclasses.fields(kind))


def to_document(value: object) -> JsonValue:
    """Write a value.

    Raises:
        TypeError: it holds something that is none of the values of hilnas.
    """
    match value:
        case None | bool() | str():
            return value
        case tuple():
            return [to_document(one) for one in value]
        case list() | dict():
            return {_CLASS: _OWN, "value": value}
        case Enum():
            if _names(type(value)) is not None:
                return {_CLASS: type(value).__name__, "value": value.value}
        case Integral():  # numpy's too
            return int(value)
        case Real():
            return float(value)
        case _:
            names = _names(type(value))
            if names is not None:
                members = {name: to_document(getattr(value, name)) for name in names}
                return {_CLASS: type(value).__name__, **members}
    raise TypeError(f"{type(value).__module__}.{type(value).__name__} is none of the values of hilnas")


def from_document(document: JsonValue) -> Any:
    """Read what `to_document` wrote."""
    if isinstance(document, list):
        return tuple(from_document(one) for one in document)
    if not isinstance(document, dict):
        return document
    name = document[_CLASS]
    if name == _OWN:
        return document["value"]
    kind = _VALUES[str(name)]
    if issubclass(kind, Enum):
        return kind(document["value"])
    return kind(**{key: from_document(one) for key, one in document.items() if key != _CLASS})
