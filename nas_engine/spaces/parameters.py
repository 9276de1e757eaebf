"""What every space's parameters dataclass shares: reading a document, writing it, and checking values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.errors import InvalidArchitectureError, InvalidSpaceError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.plugins.settings_document import settings_document
from nas_engine.domain.text import did_you_mean

# What a document may ask for at most, so that no request makes a network that cannot be built in time.
MAX_VALUE = 1_000_000  # of any integer; the largest published one is 1,984 (channels)
MAX_ITEMS = 256  # of any list
MAX_BLOCKS = 96  # choice blocks one after another; the deepest published network has 37

_P = TypeVar("_P")


class _Identified(Protocol):
    @property
    def space_id(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, JsonValue]: ...


def check(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raise InvalidSpaceError that names the parameter, its value and what it may be."""
    if not holds:
        raise InvalidSpaceError(f"space parameter {name} is {value!r}: it must be {allowed}")


def check_depth(name: str, value: object, num_blocks: int) -> None:
    """Raise InvalidSpaceError for more choice blocks one after another than a network may have."""
    check(num_blocks <= MAX_BLOCKS, name, value, f"{MAX_BLOCKS} blocks or fewer in all (these are {num_blocks})")


def read_parameters(kind: type[_P], document: Mapping[str, JsonValue]) -> _P:
    """A parameters dataclass from a JSON object; absent keys take their defaults, lists become tuples.

    Raises:
        InvalidSpaceError: an unknown key, a value of the wrong type, or one the dataclass refuses.
    """
    defaults = cast(Any, kind)()
    fields = {field.name for field in dataclasses.fields(defaults)}
    values: dict[str, object] = {}
    for name, value in document.items():
        if name not in fields:
            known = ", ".join(sorted(fields))
            raise InvalidSpaceError(f"unknown space parameter {name!r}: known are {known}{did_you_mean(name, fields)}")
        values[name] = _like(getattr(defaults, name), value, name)
    return kind(**values)


def document_of(parameters: object) -> Mapping[str, JsonValue]:
    """The parameters as a JSON object, defaults included: what a space publishes as its own."""
    return settings_document(parameters)


def require_own(space: _Identified, architecture: Architecture) -> None:
    """Refuse an architecture of another space or of the same space with other parameters.

    Raises:
        InvalidArchitectureError: with the ids or parameters that differ.
    """
    if architecture.space_id != space.space_id:
        raise InvalidArchitectureError(f"architecture is of space {architecture.space_id!r}, not {space.space_id!r}")
    own = canonical_json(space.parameters)
    if architecture.parameters != own:
        raise InvalidArchitectureError(
            f"architecture was made with parameters {architecture.parameters}, this {space.space_id} has {own}"
        )


def _like(default: object, value: JsonValue, name: str) -> object:
    """`value` in the type of `default`; bool is no int, an int is a float, a list is a tuple."""
    if isinstance(default, tuple):
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        check(is_list, name, value, "a list")
        num_items = len(cast(Sequence[JsonValue], value))
        check(num_items <= MAX_ITEMS, name, f"a list of {num_items}", f"a list of {MAX_ITEMS} or fewer")
        sample = default[0] if default else 0
        return tuple(_like(sample, item, name) for item in cast(Sequence[JsonValue], value))
    if isinstance(default, bool):
        check(isinstance(value, bool), name, value, "true or false")
        return value
    if isinstance(default, float):
        check(isinstance(value, (int, float)) and not isinstance(value, bool), name, value, "a number")
        return float(cast(float, value))
    if isinstance(default, int):
        check(isinstance(value, int) and not isinstance(value, bool), name, value, "an integer")
        check(abs(cast(int, value)) <= MAX_VALUE, name, value, f"{MAX_VALUE:,} or less")
        return value
    check(isinstance(value, type(default)), name, value, f"of type {type(default).__name__}")
    return value
