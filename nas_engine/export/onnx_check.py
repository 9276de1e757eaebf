"""Reads and checks an ONNX file before it costs anybody board time: our own exports and uploads alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from nas_engine.domain.environment import Dtype
from nas_engine.domain.errors import ExportError

MIN_OPSET = 9  # what rknn-toolkit2 2.5.0 takes
MAX_OPSET = 19
MAX_IR_VERSION = 13
MAX_SIZE_BYTES = 512 * 1024 * 1024
QUANTISING = frozenset(
    ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
)
"""Operators that compute with, or make, eight-bit activations; weights alone in eight bits are dequantised first."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, static shape and element type (ONNX's name, e.g. ``FLOAT``) of an input or output."""

    name: str
    shape: tuple[int, ...]
    element_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxSummary:
    """What a valid model file holds.

    Attributes:
        opset, ir_version: versions of its operator set and format.
        inputs, outputs: without initialisers.
        operators: number of nodes by operator type.
        metadata: its metadata_props.
        size_bytes: length of the file.
        dtype: arithmetic that its operators and weights ask for: w8a8 where activations are quantised, fp16 where
            tensors are half precision, else fp32.
    """

    opset: int
    ir_version: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Mapping[str, int]
    metadata: Mapping[str, str]
    size_bytes: int
    dtype: Dtype


def inspect_onnx(data: bytes, *, max_size_bytes: int = MAX_SIZE_BYTES) -> OnnxSummary:
    """Parse a model, refuse what no runtime of ours should be given, and summarise it.

    Raises:
        ExportError: too large, not ONNX, external weights, a dynamic shape, other operator domains
            than ONNX's own, an opset or IR version outside what the runtimes take, or the ONNX
            checker refuses it.
    """
    if len(data) > max_size_bytes:
        raise ExportError(f"the model has {len(data)} bytes, the limit is {max_size_bytes}")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError has no stable home
        raise ExportError("the file is not an ONNX model: it cannot be parsed") from error
    _check_versions(model)
    for tensor in _tensors(model.graph):  # external weights would make the runtime read files named by the model
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ExportError(f"tensor {tensor.name!r} has external data: save the model as one file")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ExportError(f"the ONNX checker refuses the model: {cause}") from error
    return _summary(model, len(data))


def _check_versions(model: onnx.ModelProto) -> None:
    if not 1 <= model.ir_version <= MAX_IR_VERSION:
        raise ExportError(f"IR version is {model.ir_version}: save it with {MAX_IR_VERSION} or lower")
    foreign = sorted({entry.domain for entry in model.opset_import} - {"", "ai.onnx"})
    if foreign:
        raise ExportError(f"operators of other domains are used ({', '.join(foreign)}): only ONNX's own are run")
    opset = _opset(model)
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ExportError(f"opset is {opset}: the runtimes take {MIN_OPSET} to {MAX_OPSET}, export it with 17")
    if model.functions:
        raise ExportError("the model defines functions of its own: inline them before exporting")


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    tensors: list[onnx.TensorProto] = [*graph.initializer]
    for sparse in graph.sparse_initializer:
        tensors += (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                tensors.append(attribute.t)
            tensors += attribute.tensors
            if attribute.HasField("sparse_tensor"):
                tensors += (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                tensors += _tensors(inner)
    return tensors


def _summary(model: onnx.ModelProto, size_bytes: int) -> OnnxSummary:
    initialisers = {tensor.name for tensor in model.graph.initializer}
    return OnnxSummary(
        opset=_opset(model),
        ir_version=model.ir_version,
        inputs=tuple(_spec(value) for value in model.graph.input if value.name not in initialisers),
        outputs=tuple(_spec(value) for value in model.graph.output),
        operators=dict(Counter(node.op_type for node in model.graph.node)),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        size_bytes=size_bytes,
        dtype=_dtype(model),
    )


def _dtype(model: onnx.ModelProto) -> Dtype:
    if any(node.op_type in QUANTISING for node in model.graph.node):
        return Dtype.W8A8
    half = onnx.TensorProto.FLOAT16
    inputs = (value.type.tensor_type.elem_type for value in model.graph.input)
    if any(element == half for element in (*inputs, *(tensor.data_type for tensor in _tensors(model.graph)))):
        return Dtype.FP16
    return Dtype.FP32


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    if not value.type.HasField("tensor_type"):
        raise ExportError(f"{value.name!r} is not a tensor: inputs and outputs must be")
    tensor_type = value.type.tensor_type
    if not tensor_type.HasField("shape"):
        raise ExportError(f"{value.name!r} has no shape: export with a static shape")
    dims = tensor_type.shape.dim
    if any(not dim.HasField("dim_value") or dim.dim_value < 1 for dim in dims):
        shown = ", ".join(dim.dim_param or str(dim.dim_value) for dim in dims)
        raise ExportError(f"{value.name!r} has the dynamic shape ({shown}): export with a static shape, batch included")
    element = onnx.TensorProto.DataType.Name(tensor_type.elem_type)
    return TensorSpec(value.name, tuple(dim.dim_value for dim in dims), element)


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
