"""Which numbers a model's integer inputs may carry, as far as its constants tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto, helper, numpy_helper

from nas_engine.export.model_nodes import nodes_of

INTEGERS = frozenset(
    (
        TensorProto.INT8,
        TensorProto.INT16,
        TensorProto.INT32,
        TensorProto.INT64,
        TensorProto.UINT8,
        TensorProto.UINT16,
        TensorProto.UINT32,
        TensorProto.UINT64,
        TensorProto.BOOL,
    )
)
UNKNOWN = (0, 1)  # flags and masks take it, and so does every table with two rows
PASSING = frozenset(
    (
        "Cast",
        "Identity",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Expand",
        "Slice",
        "Concat",
        "Split",
    )
)
"""Operators whose output holds their input's numbers and no others, or only constants beside them."""
INDEXING = frozenset(("Gather", "GatherElements", "Scatter", "ScatterElements"))
"""Operators whose second input holds places along one axis of the first."""
INDEXING_SEVERAL_AXES = frozenset(("GatherND", "ScatterND"))
"""Operators whose second input holds in its last axis one place for each of the first's leading axes."""
MAX_STEPS = 10_000


def input_ranges(model: onnx.ModelProto) -> dict[str, tuple[int, int]]:
    """The lowest and the highest number that each integer input may carry, both included.

    An input whose numbers index a table (`INDEXING`), in branches and functions too, or are spread over a depth
    (OneHot) stays below that size; of several, below the smallest, and no number is larger than the input's type holds.
    Nothing known is said as 0 to 1.

    Args:
        model: with static input shapes.

    Returns:
        By name, integer inputs alone.
    """
    initialisers = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = {
        value.name: value.type.tensor_type.elem_type
        for value in model.graph.input
        if value.name not in initialisers and value.type.tensor_type.elem_type in INTEGERS
    }
    if not inputs:
        return {}
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    shapes = _shapes(model)
    constants = _small_constants(model)
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes_of(model.graph.node):  # branches take names from outside as they are
        for name in node.input:
            users.setdefault(name, []).append(node)
    found: dict[str, tuple[int, int]] = {}
    for name, element in inputs.items():
        sizes = [size for size in _bounds(name, users, shapes, constants) if size >= 1]
        found[name] = (0, min(min(sizes) - 1, _largest(element))) if sizes else UNKNOWN
    return found


def _bounds(
    start: str,
    users: Mapping[str, list[onnx.NodeProto]],
    shapes: Mapping[str, tuple[int, ...]],
    constants: Mapping[str, int],
) -> Iterator[int]:
    """Sizes below which a tensor's numbers must stay, from whatever uses them unchanged."""
    waiting, seen = [start], {start}
    for _ in range(MAX_STEPS):
        if not waiting:
            return
        name = waiting.pop()
        for node in users.get(name, []):
            if node.op_type in INDEXING and node.input[1] == name:
                shape = shapes.get(node.input[0], ())
                axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
                if -len(shape) <= axis < len(shape):
                    yield shape[axis]
            elif node.op_type in INDEXING_SEVERAL_AXES and node.input[1] == name:
                shape, indices = shapes.get(node.input[0], ()), shapes.get(name, ())
                first = next((a.i for a in node.attribute if a.name == "batch_dims"), 0)
                yield from shape[first : first + indices[-1]] if indices else ()
            elif node.op_type == "OneHot" and node.input[0] == name and node.input[1] in constants:
                yield constants[node.input[1]]
            elif node.op_type in PASSING:
                new = [output for output in node.output if output not in seen]
                seen.update(new)
                waiting += new


def _largest(element: int) -> int:
    """The largest number that an element type holds."""
    dtype = helper.tensor_dtype_to_np_dtype(element)
    return 1 if dtype == np.bool_ else int(np.iinfo(dtype).max)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes.setdefault(value.name, tuple(dim.dim_value for dim in dims))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                shapes[node.output[0]] = tuple(attribute.t.dims)
    return shapes


def _small_constants(model: onnx.ModelProto) -> dict[str, int]:
    """Constants of one whole number, by name."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    found: dict[str, int] = {}
    for name, tensor in tensors.items():
        count = 1
        for size in tensor.dims:
            count *= size
        if count == 1:
            found[name] = int(numpy_helper.to_array(tensor).reshape(()))
    return found
