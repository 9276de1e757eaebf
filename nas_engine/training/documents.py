"""Configuration values to plain JSON and back, checked field by field.

Works on frozen dataclasses of numbers, strings, enums, tuples, frozensets, optionals and nested
dataclasses. Enums are written by value; absent keys take their defaults; unknown keys are refused.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from nas_engine.domain.errors import EngineError, TrainingError
from nas_engine.domain.json_value import JsonValue

_T = TypeVar("_T")


def to_document(value: object) -> JsonValue:
    """Plain JSON of a configuration value; equal values give equal documents."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_document(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return cast(JsonValue, value.value)
    if isinstance(value, frozenset):
        return sorted((cast(str, to_document(item)) for item in value), key=str)
    if isinstance(value, (tuple, list)):
        return [to_document(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_document(item) for key, item in value.items()}
    return cast(JsonValue, value)


def from_document(kind: type[_T], document: JsonValue, where: str = "config") -> _T:
    """The value of a document.

    Args:
        kind: dataclass to make.
        document: JSON object.
        where: what error messages call the document.

    Raises:
        TrainingError: an unknown or missing key, a value of the wrong type, or one that the dataclass refuses.
    """
    if not isinstance(document, Mapping):
        raise TrainingError(f"{where} is {document!r}: it must be an object")
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(cast(Any, kind)) if field.init}
    unknown = sorted(set(document) - set(fields))
    if unknown:
        raise TrainingError(f"{where} has the unknown key {unknown[0]!r}: known are {', '.join(sorted(fields))}")
    values = {name: _read(hints[name], document[name], f"{where}.{name}") for name in fields if name in document}
    missing = [name for name, field in fields.items() if name not in values and _is_required(field)]
    if missing:
        raise TrainingError(f"{where} lacks {', '.join(missing)}: give it")
    try:
        return kind(**values)
    except EngineError as error:
        raise TrainingError(f"{where}: {error}") from error


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _read(hint: Any, value: JsonValue, where: str) -> object:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        options = [option for option in arguments if option is not type(None)]
        return None if value is None else _read(options[0], value, where)
    if origin in (tuple, frozenset):
        return _read_sequence(origin, arguments, value, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _read_enum(hint, value, where)
    if dataclasses.is_dataclass(hint):
        return from_document(cast(type[object], hint), value, where)
    return _read_plain(hint, value, where)


def _read_sequence(origin: Any, arguments: tuple[Any, ...], value: JsonValue, where: str) -> object:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TrainingError(f"{where} is {value!r}: it must be a list")
    if origin is tuple and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise TrainingError(f"{where} has {len(value)} items: it must have {len(arguments)}")
        return tuple(_read(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(arguments, value, strict=True)))
    return origin(_read(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))


def _read_enum(hint: type[Enum], value: JsonValue, where: str) -> Enum:
    try:
        return hint(value)
    except ValueError:
        allowed = ", ".join(str(member.value) for member in hint)
        raise TrainingError(f"{where} is {value!r}: it must be one of {allowed}") from None


def _read_plain(hint: Any, value: JsonValue, where: str) -> object:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise TrainingError(f"{where} is {value!r}: it must be of type {hint.__name__}")
    return cast(object, value)
