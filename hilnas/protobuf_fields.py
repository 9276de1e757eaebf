"""Fields of a protobuf message as they lie on the wire, read without building the message. Standard library only.

For what must be looked at before it may cost memory: messages from devices, and model files from people.
"""

from __future__ import annotations

from collections.abc import Iterator

_FIXED_BYTES = {1: 8, 5: 4}
_VARINT, _LENGTH_DELIMITED = 0, 2


def fields_on_the_wire(data: memoryview) -> Iterator[tuple[int, int | memoryview | bytes]]:
    """Yield (field number, value): varints as int, length-delimited values as views, numbers of fixed size as bytes.

    Raises:
        IndexError, ValueError: the bytes are cut short or malformed.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire_type == _LENGTH_DELIMITED:
            size, at = _varint(data, at)
        elif wire_type in _FIXED_BYTES:
            size = _FIXED_BYTES[wire_type]
        else:
            raise ValueError(f"wire type {wire_type} is not used here")
        if at + size > len(data):
            raise ValueError("a field reaches beyond the end")
        content = data[at : at + size]
        yield number, content if wire_type == _LENGTH_DELIMITED else bytes(content)
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number has more than ten bytes")
