"""Fixes what exporters leave open, the batch and other axes: boards run static shapes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from nas_engine.domain.errors import ExportError
from nas_engine.export.model_file import parse_onnx
from nas_engine.export.model_size import check_num_parts
from nas_engine.export.onnx_check import shown_shape


@dataclass(frozen=True, slots=True)
class FixedModel:
    """A model and what was fixed in it.

    Attributes:
        data: the file; where nothing was open, the very bytes given.
        shapes: of the inputs that were open and are not any more, as they are now.
    """

    data: bytes
    shapes: Mapping[str, tuple[int, ...]]


def fix_shapes(data: bytes, batch: int, shapes: Mapping[str, tuple[int, ...]] | None = None) -> FixedModel:
    """Give every open input a shape, and infer the shapes that follow from it.

    An input that is not named keeps its shape, but for an open first dimension, which becomes the batch. Its other open
    dimensions are left as they are: nobody but the model's maker knows what they should be.

    Args:
        data: an ONNX file.
        batch: images per inference.
        shapes: of inputs by name; axes that the model fixes must agree.

    Raises:
        ExportError: the file is no ONNX model, has no input of a name, or contradicts a shape or that batch.
    """
    model = parse_onnx(data)
    check_num_parts(model)
    wanted = dict(shapes or {})
    initialisers = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in initialisers}
    if unknown := sorted(wanted.keys() - inputs.keys()):
        raise ExportError(f"the model has no input {unknown[0]!r}: its inputs are {', '.join(inputs)}")
    symbols: dict[str, int] = {}
    changed: list[str] = []
    for name, value in inputs.items():
        if not value.type.HasField("tensor_type"):
            continue
        if name in wanted and not value.type.tensor_type.HasField("shape"):
            for _ in wanted[name]:
                value.type.tensor_type.shape.dim.add()
        if _fix(value, batch, wanted.get(name), symbols):
            changed.append(name)
    if not changed:
        return FixedModel(data, {})
    for name, value in inputs.items():  # one symbol is one size, wherever it stands
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value") and dim.dim_param in symbols:
                dim.dim_value = symbols[dim.dim_param]
                changed.append(name)
    now = [value for name, value in inputs.items() if name in changed]
    data = _inferred(model, symbols, ", ".join(f"{value.name} ({shown_shape(value)})" for value in now))
    shapes_now = {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in now}
    return FixedModel(data, {name: shape for name, shape in shapes_now.items() if min(shape) >= 1})


def _fix(value: onnx.ValueInfoProto, batch: int, wanted: tuple[int, ...] | None, symbols: dict[str, int]) -> bool:
    """Fix one input's open dimensions; whether there was one. Symbols that get a size are noted."""
    dims = value.type.tensor_type.shape.dim
    if wanted is not None and len(wanted) != len(dims):
        raise ExportError(
            f"input {value.name!r} has {len(dims)} axes ({shown_shape(value)}), the shape given has {len(wanted)}"
        )
    changed = False
    for axis, dim in enumerate(dims):
        is_open = not dim.HasField("dim_value") or dim.dim_value < 1
        size = wanted[axis] if wanted is not None else batch if axis == 0 else None
        if not is_open and wanted is not None and dim.dim_value != wanted[axis]:
            raise ExportError(
                f"axis {axis} of input {value.name!r} is {dim.dim_value} in the model, {wanted[axis]} in the one given"
            )
        if is_open and size is not None:
            named = any(letter.isalnum() for letter in dim.dim_param)  # Paddle writes ? for any axis it does not know
            if named and symbols.setdefault(dim.dim_param, size) != size:
                raise ExportError(
                    f"{dim.dim_param!r} is {symbols[dim.dim_param]} and {size} at once: axes of one name have one size"
                )
            dim.dim_value = size
            changed = True
    return changed


def _inferred(model: onnx.ModelProto, symbols: Mapping[str, int], shown: str) -> bytes:
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_value = symbols[dim.dim_param]
            elif dim.dim_value < 1:
                dim.Clear()  # a name given before anything was fixed, or -1 or 0: to be inferred
    del model.graph.value_info[:]  # what was inferred for open shapes
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"the model cannot run with {shown}: {str(error).strip()}") from error
    for value, known in zip(model.graph.output, inferred.graph.output, strict=True):
        value.CopyFrom(known)
    return bytes(model.SerializeToString())
