"""What a field of a message from an agent may hold at most, and the check that goes by it.

A message is checked in three steps, each of which bounds the memory of the next: its size in bytes, the number of its
fields on the wire (an empty message of two bytes takes fifty when it is built), and, once it is built, every field by
the table in `server.core.rpc.wire_bounds`. A field that the table does not name is a fault that a test finds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from hilnas.protobuf_fields import fields_on_the_wire
from server.core.errors import InvalidValueError

MAX_FIELDS = 5000
"""Fields of a message with all that it holds; the largest honest one, a Sync with 64 labels, has some hundreds."""

_NOT_ON_A_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_WHOLE = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
}
_REAL = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What one field may hold; None where its type has no such bound.

    Attributes:
        items: most entries of a repeated field or map.
        characters: most characters of a text.
        one_line: whether control characters and line ends are refused in it.
        size_bytes: most bytes.
        minimum, maximum: of a number, both included; NaN and infinities are always refused.
    """

    items: int | None = None
    characters: int | None = None
    one_line: bool = True
    size_bytes: int | None = None
    minimum: float | None = None
    maximum: float | None = None

    def lacks(self, field: FieldDescriptor) -> str:
        """Name what this says nothing of although the field's type needs it; empty where it says all."""
        if field.is_repeated and self.items is None:
            return "items"
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
                return "size_bytes" if self.size_bytes is None else ""
            case FieldDescriptor.CPPTYPE_STRING:
                return "characters" if self.characters is None else ""
            case kind if kind in _WHOLE or kind in _REAL:
                return "minimum and maximum" if self.minimum is None or self.maximum is None else ""
            case _:
                return ""


Bounds = Mapping[str, Bound]
"""By message and field: `SyncRequest.wait_s`; entries of a map as `SyncRequest.LabelsEntry.key`."""


@cache
def field_name(field: FieldDescriptor) -> str:
    """Name a field as the table does: without the package, `hilnas.v1`."""
    return ".".join(field.full_name.split(".")[2:])


def needs_bound(field: FieldDescriptor) -> bool:
    """Whether a field can hold more than a fixed few bytes, or a number that may be out of range."""
    fixed = (FieldDescriptor.CPPTYPE_BOOL, FieldDescriptor.CPPTYPE_ENUM, FieldDescriptor.CPPTYPE_MESSAGE)
    return field.is_repeated or field.cpp_type not in fixed


def read_message(kind: type[Any], data: bytes, max_bytes: int) -> Any:
    """Build a message of bounded size from bytes that anybody may have sent.

    Raises:
        InvalidValueError: it has too many bytes or fields, or is no such message.
    """
    name = kind.DESCRIPTOR.name
    if len(data) > max_bytes:
        raise InvalidValueError(f"{name} has {len(data)} bytes: at most {max_bytes} are taken")
    try:
        if _count_fields(memoryview(data), kind.DESCRIPTOR, 0) > MAX_FIELDS:
            raise InvalidValueError(f"{name} has more than {MAX_FIELDS} fields in all: send fewer entries")
        return kind.FromString(data)
    except (DecodeError, IndexError, ValueError) as error:
        raise InvalidValueError(f"the bytes are no {name}: {error or 'cut short'}") from error


def violation(message: Message, bounds: Bounds) -> str:
    """Say which field holds what it may not, and what it may; empty where all is well."""
    for field, value in message.ListFields():
        name = field_name(field)
        bound = bounds.get(name)
        if bound is None:
            if needs_bound(field):
                raise LookupError(f"no bound is declared for {name}: add it to server/core/rpc/wire_bounds.py")
            bound = Bound()
        if field.is_repeated and len(value) > (bound.items or 0):
            return f"{name} has {len(value)} entries: at most {bound.items} are taken"
        for one_name, one in _values(field, name, value):
            within = bounds.get(one_name, bound)
            found = violation(one, bounds) if isinstance(one, Message) else _wrong(one_name, one, within)
            if found:
                return found
    return ""


def _values(field: FieldDescriptor, name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """Each value of a field with the name of its bound; keys and values of a map have names of their own."""
    if not field.is_repeated:
        return ((name, value),)
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return ((name, one) for one in value)
    key, item = (field_name(entry.fields_by_name[part]) for part in ("key", "value"))
    return (pair for k, v in value.items() for pair in ((key, k), (item, v)))


def _wrong(name: str, value: Any, bound: Bound) -> str:
    match value:
        case bool():
            return ""
        case str():
            if bound.characters is not None and len(value) > bound.characters:
                return f"{name} has {len(value)} characters: at most {bound.characters} are taken"
            if bound.one_line and _NOT_ON_A_LINE.search(value):
                return f"{name} is {value[:100]!r}: control characters and line ends are not taken"
        case bytes():
            if bound.size_bytes is not None and len(value) > bound.size_bytes:
                return f"{name} has {len(value)} bytes: at most {bound.size_bytes} are taken"
        case int() | float():
            if not math.isfinite(value):
                return f"{name} is {value}: it must be finite"
            if bound.minimum is not None and bound.maximum is not None and not bound.minimum <= value <= bound.maximum:
                return f"{name} is {value}: it must be finite and from {bound.minimum:g} to {bound.maximum:g}"
    return ""


def _count_fields(data: memoryview, kind: Descriptor, before: int) -> int:
    """Count the fields on the wire, those of messages inside included, and stop soon after `MAX_FIELDS`.

    Raises:
        IndexError, ValueError: the bytes are cut short or malformed.
    """
    count = before
    for number, value in fields_on_the_wire(data):
        count += 1
        if count > MAX_FIELDS:
            break
        field = kind.fields_by_number.get(number)
        if field is not None and field.message_type is not None and isinstance(value, memoryview):
            count = _count_fields(value, field.message_type, count)
    return count
