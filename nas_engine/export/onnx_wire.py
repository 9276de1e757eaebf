"""ONNX's protobuf messages, written straight to bytes.

The protobuf library copies every weight three times and takes most of an export's time; here large
tensors stay views on their arrays until one final join. Fields are written in ascending order, as
protobuf's own serialiser does, so the bytes are those of a reparsed and re-serialised model
(checked by test). Field numbers: onnx/onnx.proto of ONNX 1.12 (IR 8) and later.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Part = bytes | memoryview
Tensor = NDArray[np.float32] | NDArray[np.int64]

_VARINT, _LENGTH_DELIMITED, _FIXED32 = 0, 2, 5
_MASK_64 = (1 << 64) - 1


class ElementType(IntEnum):
    """Element types of tensors, with the numbers of ONNX's TensorProto.DataType."""

    FLOAT = 1
    INT64 = 7


class _AttributeType(IntEnum):
    FLOAT = 1
    INT = 2
    INTS = 7


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """Name and shape of a graph input or output (float32); an extent that is left open stands by its name."""

    name: str
    shape: tuple[int | str, ...]


def varint(value: int) -> bytes:
    """Base-128 integer; negative values are 64-bit two's complement, as protobuf's int64."""
    if 0 <= value < 128:
        return bytes((value,))
    value &= _MASK_64
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def attribute_int(name: str, value: int) -> bytes:
    """AttributeProto of one integer, as a field of a node."""
    return _attribute(name, _integer(3, value), _AttributeType.INT)


def attribute_ints(name: str, values: Iterable[int]) -> bytes:
    """AttributeProto of a list of integers, as a field of a node."""
    return _attribute(name, b"".join(_integer(8, v) for v in values), _AttributeType.INTS)


def attribute_float(name: str, value: float) -> bytes:
    """AttributeProto of one float32, as a field of a node."""
    return _attribute(name, _key(2, _FIXED32) + struct.pack("<f", value), _AttributeType.FLOAT)


def node(op_type: str, name: str, inputs: Sequence[str], output: str, attributes: bytes = b"") -> bytes:
    """NodeProto with one output, as a field of the graph; `attributes` are joined attribute fields."""
    fields = [_text(1, source) for source in inputs]
    fields += (_text(2, output), _text(3, name), _text(4, op_type), attributes)
    return _delimited(1, b"".join(fields))


def tensor(name: str, array: Tensor) -> tuple[bytes, memoryview]:
    """TensorProto with raw data, as a field of the graph; the data stays a view on the array."""
    is_integer = array.dtype.kind == "i"
    little_endian = np.ascontiguousarray(array, dtype="<i8" if is_integer else "<f4")
    element = ElementType.INT64 if is_integer else ElementType.FLOAT
    return _tensor_header(name, array.shape, element, little_endian.nbytes), little_endian.data.cast("B")


@lru_cache(maxsize=4096)
def _tensor_header(name: str, shape: tuple[int, ...], element: ElementType, size_bytes: int) -> bytes:
    """Everything of a tensor before its data; equal for the same layer of most sub-networks of a space."""
    dims = b"".join(_integer(1, extent) for extent in shape)
    header = dims + _integer(2, element) + _text(8, name) + _key(9, _LENGTH_DELIMITED) + varint(size_bytes)
    return _key(5, _LENGTH_DELIMITED) + varint(len(header) + size_bytes) + header


def model(
    *,
    name: str,
    nodes: Sequence[bytes],
    tensors: Sequence[Part],
    graph_input: ValueInfo,
    graph_output: ValueInfo,
    ir_version: int,
    opset: int,
    producer: str,
    metadata: Mapping[str, str],
) -> bytes:
    """A whole ModelProto; `nodes` and `tensors` are graph fields made by `node` and `tensor`."""
    graph: list[Part] = [*nodes, _text(2, name), *tensors, _value_info(11, graph_input), _value_info(12, graph_output)]
    head = _integer(1, ir_version) + _text(2, producer) + _key(7, _LENGTH_DELIMITED) + varint(sum(map(len, graph)))
    entries = (_delimited(14, _text(1, key) + _text(2, value)) for key, value in sorted(metadata.items()))
    return b"".join((head, *graph, _delimited(8, _text(1, "") + _integer(2, opset)), *entries))


@lru_cache(maxsize=64)
def _key(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


def _integer(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + varint(value)


def _delimited(field: int, payload: bytes) -> bytes:
    return _key(field, _LENGTH_DELIMITED) + varint(len(payload)) + payload


@lru_cache(maxsize=8192)
def _text(field: int, value: str) -> bytes:
    # Remembered, since every name stands in its own node, in those that read it, and in the next sub-network.
    return _delimited(field, value.encode())


def _attribute(name: str, value: bytes, kind: _AttributeType) -> bytes:
    return _delimited(5, _text(1, name) + value + _integer(20, kind))


def _value_info(field: int, value: ValueInfo) -> bytes:
    extents = (_text(2, extent) if isinstance(extent, str) else _integer(1, extent) for extent in value.shape)
    shape = b"".join(_delimited(1, extent) for extent in extents)
    tensor_type = _integer(1, ElementType.FLOAT) + _delimited(2, shape)
    return _delimited(field, _text(1, value.name) + _delimited(2, _delimited(1, tensor_type)))
