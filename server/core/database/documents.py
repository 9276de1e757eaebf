"""JSON documents of values, driven by the values' fields: what a column of type `JsonOf` holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from server.core.spec_documents import parse_spec

Reader = Callable[[Any], Any]


def dumped(value: Any) -> Any:
    """The JSON document of a value; a set becomes a sorted list, so that equal sets give equal documents."""
    match value:
        case BaseModel():
            return value.model_dump(mode="json")
        case Enum():
            return value.value
        case Mapping():
            return {key: dumped(item) for key, item in value.items()}
        case AbstractSet():
            return sorted(dumped(item) for item in value)
        case list() | tuple():
            return [dumped(item) for item in value]
        case _ if hasattr(value, "to_json"):
            return value.to_json()
        case _ if is_dataclass(value):
            return {field.name: dumped(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


def reader(kind: Any) -> Reader:
    """A function that makes values of this type from the documents that `dumped` gives.

    A dataclass with a `from_json` of its own is read by that; keys that a document lacks keep the field's default.
    Types that JSON has (and `JsonValue`) are taken as they are.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        inner = [argument for argument in arguments if argument is not NoneType]
        if len(inner) != 1:
            return _as_it_is
        read = reader(inner[0])
        return lambda document: None if document is None else read(document)
    if origin in (tuple, frozenset):
        items = [reader(argument) for argument in arguments if argument is not Ellipsis]
        if len(items) == 1:
            return lambda document: origin(items[0](item) for item in document)
        return lambda document: origin(read(item) for read, item in zip(items, document, strict=True))
    if not isinstance(kind, type):
        return _as_it_is
    if issubclass(kind, BaseModel):
        return lambda document: parse_spec(kind, document)
    if hasattr(kind, "from_json"):
        return kind.from_json  # type: ignore[no-any-return]
    if issubclass(kind, Enum):
        return kind
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        readers = {field.name: reader(hints[field.name]) for field in fields(kind)}
        return lambda document: kind(
            **{name: read(document[name]) for name, read in readers.items() if name in document}
        )
    return _as_it_is


def _as_it_is(document: Any) -> Any:
    return document
