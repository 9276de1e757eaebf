"""Reads and checks an ONNX file before it costs anybody board time: our own exports and uploads alike."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx

from nas_engine.domain.errors import ExportError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.export.input_ranges import input_ranges
from nas_engine.export.model_file import parse_onnx
from nas_engine.export.model_limits import ONNX_RUNTIME, STANDARD_DOMAINS, ModelLimits
from nas_engine.export.model_nodes import data_dependent, inner_graphs, nodes_of, used_nodes
from nas_engine.export.model_size import check_num_parts

MAX_IR_VERSION = 13
MAX_INPUTS = 64
MAX_NAME_CHARACTERS = 256
MAX_AXES = 32
MAX_INPUT_ELEMENTS = 1 << 28
"""Numbers in all inputs together: a GiB in float32, more than any board has room for beside a network."""
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
        inputs: without initialisers.
        outputs: those whose shape the file says or inference finds.
        open_outputs: shapes of the others as the file writes them, by name.
        input_ranges: lowest and highest number of each integer input, as far as constants tell (`input_ranges`).
        operators: number of nodes by operator type.
        foreign_operators: with domain, those that are neither of ONNX's own operator set nor functions of the model.
        has_functions: whether the model defines functions of its own.
        metadata: its metadata_props.
        size_bytes: length of the file.
        dtype: arithmetic that its operators and weights ask for: w8a8 where activations are quantised, fp16 where
            tensors are half precision, else fp32.
    """

    opset: int
    ir_version: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    open_outputs: Mapping[str, str]
    input_ranges: Mapping[str, tuple[int, int]]
    operators: Mapping[str, int]
    foreign_operators: tuple[str, ...]
    has_functions: bool
    metadata: Mapping[str, str]
    size_bytes: int
    dtype: Dtype


def inspect_onnx(
    data: bytes, limits: ModelLimits = ONNX_RUNTIME, *, max_size_bytes: int = MAX_SIZE_BYTES
) -> OnnxSummary:
    """Parse a model, refuse what the runtime should not be given, and summarise it.

    Raises:
        ExportError: too large, not ONNX, external weights, an input that is open or no tensor of numbers, an output
            whose shape depends on the data, the ONNX checker refuses it, or `refusal` says why the runtime does.
    """
    if len(data) > max_size_bytes:
        raise ExportError(f"the model has {len(data)} bytes, the limit is {max_size_bytes}")
    model = parse_onnx(data)
    check_num_parts(model)
    _plain(model)
    if not 1 <= model.ir_version <= MAX_IR_VERSION:
        raise ExportError(f"IR version is {model.ir_version}: save it with {MAX_IR_VERSION} or lower")
    for tensor in all_tensors(model):  # external weights would make the runtime read files named by the model
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ExportError(f"tensor {tensor.name!r} has external data: save the model as one file, {_SAVE_AS_ONE}")
    _check_operators(model)
    _check_names(model)
    _complete_outputs(model)
    initialisers = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_input(value) for value in model.graph.input if value.name not in initialisers)
    if (num := sum(math.prod(spec.shape) for spec in inputs)) > MAX_INPUT_ELEMENTS:
        raise ExportError(
            f"the inputs hold {num} numbers: boards are given {MAX_INPUT_ELEMENTS} at most, cut or fix them"
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ExportError(f"the ONNX checker refuses the model: {cause}") from error
    outputs = _outputs(model)
    summary = OnnxSummary(
        opset=_opset(model),
        ir_version=model.ir_version,
        inputs=inputs,
        outputs=tuple(_spec(value) for value in outputs if _is_static(value)),
        open_outputs={
            stated.name: shown_shape(stated)
            for stated, value in zip(model.graph.output, outputs, strict=True)
            if not _is_static(value)
        },
        input_ranges=input_ranges(model),
        operators=dict(Counter(node.op_type for node in model.graph.node)),
        foreign_operators=_foreign(model, STANDARD_DOMAINS),
        has_functions=bool(model.functions),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        size_bytes=len(data),
        dtype=_dtype(model),
    )
    if (reason := refusal(summary, limits)) is not None:
        raise ExportError(reason)
    return summary


def refusal(model: OnnxSummary, limits: ModelLimits) -> str | None:
    """Why a runtime should not be given a valid model: opset, functions, operators or open outputs. None: it may."""
    if model.opset and not limits.min_opset <= model.opset <= limits.max_opset:
        return (
            f"opset is {model.opset}: {limits.name} takes {limits.min_opset} to {limits.max_opset}, export it with 17"
        )
    if model.has_functions and not limits.takes_functions:
        return (
            f"the model defines functions of its own, which {limits.name} does not take: inline them, "
            "onnx.inliner.inline_local_functions(model)"
        )
    foreign = [name for name in model.foreign_operators if name.rpartition(".")[0] not in limits.domains]
    if foreign:
        return f"operators of other domains are used ({', '.join(foreign[:5])}): {limits.name} is given ONNX's own only"
    if limits.static_outputs and model.open_outputs:
        name, shape = next(iter(model.open_outputs.items()))
        return (
            f"output {name!r} has the shape ({shape}), which cannot be inferred: {limits.name} needs it, export with "
            "static shapes"
        )
    return None


_SAVE_AS_ONE = "python -c \"import onnx; onnx.save(onnx.load('model.onnx'), 'one.onnx')\""


def _plain(model: onnx.ModelProto) -> None:
    """Write what has two spellings in the one that the checker knows: ONNX's own domain, and open axes of outputs.

    Runtimes read both. An axis of -1 or 0 is one that an exporter did not know; of an input it is refused by `_input`.
    """
    graphs = [model.graph]
    imports = [*model.opset_import]
    nodes = [*nodes_of(model.graph.node)]
    for function in model.functions:
        nodes += nodes_of(function.node)
        imports += function.opset_import
    for imported in imports:
        imported.domain = "" if imported.domain == "ai.onnx" else imported.domain
    for node in nodes:
        node.domain = "" if node.domain == "ai.onnx" else node.domain
    while graphs:  # ends: graphs are nested, never in a ring
        graph = graphs.pop()
        graphs += (inner for node in graph.node for inner in inner_graphs(node))
        for value in (*graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.HasField("dim_value") and dim.dim_value < 1:
                    dim.Clear()


def _complete_outputs(model: onnx.ModelProto) -> None:
    """Give outputs that name neither type nor shape what inference finds: the checker wants both, no runtime does."""
    if all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        return
    try:
        found = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
    except onnx.shape_inference.InferenceError:
        return  # the checker says what is wrong
    for value, inferred in zip(model.graph.output, found, strict=True):
        kind = value.type.WhichOneof("value")
        if kind is None or (kind == "tensor_type" and not value.type.tensor_type.HasField("shape")):
            value.CopyFrom(inferred)


def _check_operators(model: onnx.ModelProto) -> None:
    """Refuse what the checker knows nothing of: it would say so in words of its own."""
    if not _opset(model):
        if any(node.domain in STANDARD_DOMAINS for node in used_nodes(model)):
            raise ExportError("the model does not say which opset of ONNX's own operators it uses: export it with 17")
    elif _opset(model) > onnx.defs.onnx_opset_version() or _opset(model) < ONNX_RUNTIME.min_opset:
        raise ExportError(
            f"opset is {_opset(model)}: {ONNX_RUNTIME.min_opset} to {ONNX_RUNTIME.max_opset} are known here, export it "
            "with 17"
        )
    if foreign := _foreign(model, ONNX_RUNTIME.domains):
        raise ExportError(
            f"operators of other domains are used ({', '.join(foreign[:5])}): boards are given ONNX's own only; a "
            "model that a runtime has optimised and saved must be exported anew"
        )


def _foreign(model: onnx.ModelProto, domains: Collection[str]) -> tuple[str, ...]:
    """The operators that are used and of no domain in `domains`. What is imported only costs nobody anything."""
    own = {(function.domain, function.name) for function in model.functions}
    return tuple(
        sorted(
            {
                f"{node.domain}.{node.op_type}"
                for node in used_nodes(model)
                if node.domain not in domains and (node.domain, node.op_type) not in own
            }
        )
    )


def _outputs(model: onnx.ModelProto) -> tuple[onnx.ValueInfoProto, ...]:
    """The outputs, with shapes that inference finds where the file leaves them open."""
    told = tuple(model.graph.output)
    for value in told:
        if not value.type.HasField("tensor_type"):
            raise ExportError(f"output {value.name!r} is not a tensor: outputs must be")
    if all(_is_static(value) for value in told):
        return told
    undone = onnx.ModelProto()
    undone.CopyFrom(model)
    for value in undone.graph.output:
        if not _is_static(value):
            value.type.tensor_type.ClearField("shape")
    del undone.graph.value_info[:]
    found = tuple(onnx.shape_inference.infer_shapes(undone, data_prop=True).graph.output)
    for value, stated in zip(found, told, strict=True):
        if _is_static(value):
            continue
        if (operator := data_dependent(model, value.name)) is not None:
            raise ExportError(
                f"output {value.name!r} has the shape ({shown_shape(stated)}), which depends on the data ({operator}): "
                "cut the model before that operator; boards run what has one shape"
            )
    return found


def _check_names(model: onnx.ModelProto) -> None:
    """Bound what is stored of a model and sent to boards with each job."""
    if len(model.graph.input) - len(model.graph.initializer) > MAX_INPUTS:
        raise ExportError(f"the model has more than {MAX_INPUTS} inputs: boards are given that many at most")
    for value in (*model.graph.input, *model.graph.output):
        if len(value.name) > MAX_NAME_CHARACTERS:
            raise ExportError(
                f"{value.name[:40]!r}... is the name of an input or output and has {len(value.name)} characters: "
                f"{MAX_NAME_CHARACTERS} at most are taken, rename it"
            )
        if any(unicodedata.category(character) == "Cc" for character in value.name):
            raise ExportError(f"{value.name!r} is the name of an input or output and has control characters: rename it")
        if (num_axes := len(value.type.tensor_type.shape.dim)) > MAX_AXES:
            raise ExportError(f"{value.name!r} has {num_axes} axes: boards are given tensors of {MAX_AXES} at most")


def all_tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """The tensors of the graph, of the graphs inside it, and of the model's functions."""
    tensors = _tensors(model.graph)
    for function in model.functions:
        tensors += _tensors_of_nodes(function.node)
    return tensors


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    tensors: list[onnx.TensorProto] = [*graph.initializer]
    for sparse in graph.sparse_initializer:
        tensors += (sparse.values, sparse.indices)
    return tensors + _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: Iterable[onnx.NodeProto]) -> list[onnx.TensorProto]:
    tensors: list[onnx.TensorProto] = []
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                tensors.append(attribute.t)
            tensors += attribute.tensors
            for sparse in (
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                *attribute.sparse_tensors,
            ):
                tensors += (sparse.values, sparse.indices)
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                tensors += _tensors(inner)
    return tensors


def _dtype(model: onnx.ModelProto) -> Dtype:
    if any(node.op_type in QUANTISING for node in used_nodes(model)):
        return Dtype.W8A8
    half = onnx.TensorProto.FLOAT16
    inputs = (value.type.tensor_type.elem_type for value in model.graph.input)
    if any(element == half for element in (*inputs, *(tensor.data_type for tensor in all_tensors(model)))):
        return Dtype.FP16
    return Dtype.FP32


def _input(value: onnx.ValueInfoProto) -> TensorSpec:
    name, kind = value.name, value.type
    if not kind.HasField("tensor_type"):
        raise ExportError(f"input {name!r} is not a tensor: inputs must be")
    if kind.tensor_type.elem_type == onnx.TensorProto.STRING:
        raise ExportError(f"input {name!r} takes strings: boards are given numbers, cut the model behind its tokeniser")
    if not kind.tensor_type.HasField("shape"):
        raise ExportError(f"input {name!r} has no shape: export with a static shape, or give one for it")
    if not _is_static(value):
        raise ExportError(
            f"input {name!r} has the dynamic shape ({shown_shape(value)}): export with a static shape, batch included, "
            f"or give one (hilnas measurements create --input-shape {name}=..., in REST and SDK input_shapes)"
        )
    return _spec(value)


def _is_static(value: onnx.ValueInfoProto) -> bool:
    tensor_type = value.type.tensor_type
    return tensor_type.HasField("shape") and all(
        dim.HasField("dim_value") and dim.dim_value >= 1 for dim in tensor_type.shape.dim
    )


def shown_shape(value: onnx.ValueInfoProto) -> str:
    """The sizes of a tensor's axes, open ones by the names that the file gives them."""
    return ", ".join(dim.dim_param or str(dim.dim_value) for dim in value.type.tensor_type.shape.dim)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    element = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
    return TensorSpec(value.name, tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim), element)


def _opset(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators that the graph uses, else its functions; 0 where neither uses any."""
    for imports in ([model.opset_import], [function.opset_import for function in model.functions]):
        entries = [entry for some in imports for entry in some if entry.domain in STANDARD_DOMAINS]
        if entries:
            return max(entry.version for entry in entries)
    return 0
