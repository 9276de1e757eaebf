"""Export view of a layer graph: ONNX bytes, straight from numpy weights. No torch.

Opset 17 and IR 10 with a static batch: what the RKNN converter and older ONNX Runtimes take (the
converter refuses opsets from 20 on). Batch normalisation is folded into the convolution before it;
activations become the operators that the converter fuses. Equal inputs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import ExportError, WeightsError
from nas_engine.domain.layer_graph import (
    Activation,
    ActivationKind,
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    DropConnect,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Input,
    LayerGraph,
    Linear,
    Mul,
    Node,
    Pool,
    PoolKind,
    Slice,
    WeightedSum,
    WeightRef,
)
from nas_engine.domain.statistics import BatchStatistics, require_statistics
from nas_engine.export import onnx_wire as wire
from nas_engine.export.batch_norm import BatchNormValues, fold, foldable
from nas_engine.export.model_metadata import ModelMetadata

OPSET = 17
IR_VERSION = 10
PRODUCER = "hilnas"
OPEN_BATCH = "batch"  # name of the input's first extent where it is left open
Array = NDArray[np.float32]
NO_COEFFICIENTS: Mapping[str, Array] = MappingProxyType({})
_ZERO = np.array(0, np.float32)
_SIX = np.array(6, np.float32)


def export_onnx(
    graph: LayerGraph,
    weights: Mapping[str, Array],
    statistics: Mapping[str, BatchStatistics],
    *,
    batch: int | None = 1,
    metadata: ModelMetadata | None = None,
    coefficients: Mapping[str, Array] = NO_COEFFICIENTS,
) -> bytes:
    """The network as a serialised ONNX model. Input and output are float32 and named after their nodes.

    Args:
        graph: either form; dropout and drop-connect are the identity outside training.
        weights: full stored tensors by name; the exporter takes the part each node uses.
        statistics: per BatchNorm node name, over the used width.
        batch: images per inference, part of the static input shape (batch, channels, height, width); None leaves it
            open, for ONNX Runtime alone.
        metadata: written into the file, absent when None.
        coefficients: vectors that WeightedSum nodes read (SUPERNET form only).

    Raises:
        ExportError: the batch is below 1, or a layer cannot be represented.
        WeightsError: a weight, statistic or coefficient is missing, of another shape, or not finite.
    """
    if batch is not None and batch < 1:
        raise ExportError(f"batch is {batch}: it must be 1 or more")
    require_statistics(graph, statistics)
    lowering = _Lowering(graph, weights, statistics, coefficients)
    lowering.run()
    num_images = OPEN_BATCH if batch is None else batch
    return wire.model(
        name=PRODUCER,
        nodes=lowering.nodes,
        tensors=lowering.tensors,
        graph_input=wire.ValueInfo(graph.nodes[0].name, (num_images, *graph.input_shape)),
        graph_output=wire.ValueInfo(lowering.output, (num_images, *graph.output_shape)),
        ir_version=IR_VERSION,
        opset=OPSET,
        producer=PRODUCER,
        metadata={} if metadata is None else metadata.entries(),
    )


class _Lowering:
    """Turns layer-graph nodes into ONNX nodes and initialisers, in order."""

    def __init__(
        self,
        graph: LayerGraph,
        weights: Mapping[str, Array],
        statistics: Mapping[str, BatchStatistics],
        coefficients: Mapping[str, Array],
    ) -> None:
        self.nodes: list[bytes] = []
        self.tensors: list[wire.Part] = []
        self._graph = graph
        self._weights = weights
        self._statistics = statistics
        self._coefficients = coefficients
        self._folds = foldable(graph)
        self._values: list[str] = []  # ONNX value that holds each node's result
        self._names: set[str] = set()
        self._constants: set[str] = set()

    @property
    def output(self) -> str:
        """Name of the value that is the network's answer."""
        return self._values[self._graph.output]

    def run(self) -> None:
        """Write every node of the graph as ONNX operators."""
        folded = set(self._folds.values())
        for index, node in enumerate(self._graph.nodes):
            inputs = [self._values[source] for source in node.inputs]
            is_identity = isinstance(node, (Dropout, DropConnect)) or index in folded
            if is_identity:
                self._values.append(inputs[0])
            elif isinstance(node, Conv2d):
                self._values.append(self._conv(node, inputs[0], self._folds.get(index)))
            else:
                self._values.append(self._lower(node, inputs))
        if self.output == self._values[0]:
            raise ExportError("the network's output is its input: there is nothing to export")

    def _lower(self, node: Node, inputs: list[str]) -> str:
        match node:
            case Input(name=name):
                self._claim(name)
                return name
            case BatchNorm():
                return self._batch_norm(node, inputs[0])
            case Activation():
                return self._activation(node, inputs[0])
            case Pool():
                return self._pool(node, inputs[0])
            case GlobalAvgPool():
                return self._emit("GlobalAveragePool", node.name, inputs)
            case Add():
                return self._sum(node.name, inputs)
            case Mul():
                return self._emit("Mul", node.name, inputs)
            case Concat():
                return self._emit("Concat", node.name, inputs, wire.attribute_int("axis", 1))
            case Slice():
                return self._slice(node, inputs[0])
            case Flatten():
                return self._emit("Flatten", node.name, inputs, wire.attribute_int("axis", 1))
            case Linear():
                operands = [inputs[0], self._tensor(f"{node.name}.weight", self._weight(node.weight))]
                if node.bias is not None:
                    operands.append(self._tensor(f"{node.name}.bias", self._weight(node.bias)))
                return self._emit("Gemm", node.name, operands, wire.attribute_int("transB", 1))
            case WeightedSum():
                return self._weighted_sum(node, inputs)
            case _:
                raise ExportError(f"node {node.name!r}: no ONNX form for a {type(node).__name__}")

    def _conv(self, node: Conv2d, x: str, batch_norm: int | None) -> str:
        weight = self._weight(node.weight)
        bias = None if node.bias is None else self._weight(node.bias)
        if batch_norm is not None:
            bn = self._graph.nodes[batch_norm]
            assert isinstance(bn, BatchNorm)
            weight, bias = fold(weight, bias, self._batch_norm_values(bn), bn.eps, bn.name)
        inputs = [x, self._tensor(f"{node.name}.weight", weight)]
        if bias is not None:
            inputs.append(self._tensor(f"{node.name}.bias", bias))
        attributes = _conv_attributes(node.weight.shape[2], node.stride, node.padding, node.groups)
        return self._emit("Conv", node.name, inputs, attributes)

    def _batch_norm_values(self, node: BatchNorm) -> BatchNormValues:
        features = node.shape[0]
        statistics = self._statistics[node.name]
        gamma = np.ones(features, np.float32) if node.weight is None else self._weight(node.weight)
        beta = np.zeros(features, np.float32) if node.bias is None else self._weight(node.bias)
        return BatchNormValues(gamma, beta, statistics.mean, statistics.variance)

    def _batch_norm(self, node: BatchNorm, x: str) -> str:
        values = self._batch_norm_values(node)
        vectors = (
            ("scale", values.gamma),
            ("shift", values.beta),
            ("mean", values.mean),
            ("variance", values.variance),
        )
        inputs = [x, *(self._tensor(f"{node.name}.{part}", vector) for part, vector in vectors)]
        return self._emit("BatchNormalization", node.name, inputs, wire.attribute_float("epsilon", node.eps))

    def _activation(self, node: Activation, x: str) -> str:
        name = node.name
        match node.kind:
            case ActivationKind.RELU:
                return self._emit("Relu", name, [x])
            case ActivationKind.RELU6:
                return self._emit("Clip", name, [x, self._constant("zero", _ZERO), self._constant("six", _SIX)])
            case ActivationKind.HSWISH:
                return self._emit("HardSwish", name, [x])
            case ActivationKind.HSIGMOID:
                slope = wire.attribute_float("alpha", 1 / 6) + wire.attribute_float("beta", 0.5)
                return self._emit("HardSigmoid", name, [x], slope)
            case ActivationKind.SIGMOID:
                return self._emit("Sigmoid", name, [x])
            case ActivationKind.SWISH:
                return self._emit("Mul", name, [x, self._emit("Sigmoid", f"{name}.sigmoid", [x])])

    def _pool(self, node: Pool, x: str) -> str:
        attributes = _window_attributes(node.kernel, node.stride, node.padding)
        if node.kind is PoolKind.MAX:
            return self._emit("MaxPool", node.name, [x], attributes)
        attributes += wire.attribute_int("count_include_pad", int(node.count_include_pad))
        return self._emit("AveragePool", node.name, [x], attributes)

    def _slice(self, node: Slice, x: str) -> str:
        """Every second channel becomes a Gather: the RKNN converter makes a 1x1 convolution of it, but
        puts a Slice with a step on the CPU (toolkit 2.5.0). ONNX Runtime runs both equally fast.
        """
        axis = node.axis + 1  # the batch is ONNX's axis 0
        if axis == 1 and node.step > 1:
            indices = self._integers(range(node.start, node.stop, node.step))
            return self._emit("Gather", node.name, [x, indices], wire.attribute_int("axis", axis))
        bounds = (node.start, node.stop, axis, node.step)
        return self._emit("Slice", node.name, [x, *(self._integers(range(one, one + 1)) for one in bounds)])

    def _sum(self, name: str, inputs: list[str]) -> str:
        """A chain of binary Adds (the converter fuses Add, not Sum, into a convolution)."""
        total = inputs[0]
        for position, term in enumerate(inputs[1:], start=2):
            last = position == len(inputs)
            total = self._emit("Add", name if last else f"{name}.{position}", [total, term])
        return total

    def _weighted_sum(self, node: WeightedSum, inputs: list[str]) -> str:
        terms = []
        for position, (x, ref) in enumerate(zip(inputs, node.coefficients, strict=True)):
            vector = self._coefficients.get(ref.name)
            if vector is None or not 0 <= ref.index < vector.size:
                raise WeightsError(f"{node.name}: no coefficient {ref.name}[{ref.index}]: pass it in `coefficients`")
            factor = self._tensor(f"{node.name}.factor{position}", np.array(vector[ref.index], np.float32))
            terms.append(self._emit("Mul", f"{node.name}.term{position}", [x, factor]))
        return self._sum(node.name, terms)

    def _weight(self, ref: WeightRef) -> Array:
        stored = self._weights.get(ref.name)
        if stored is None:
            raise WeightsError(f"weight {ref.name!r} is missing: these weights are not of this graph's space and form")
        if stored.shape != ref.full_shape:
            raise WeightsError(f"weight {ref.name!r} has shape {stored.shape}, the graph needs {ref.full_shape}")
        part = stored if ref.is_full else stored[tuple(slice(start, stop) for start, stop in ref.slices)]
        return part if part.dtype == np.float32 else part.astype(np.float32)

    def _tensor(self, name: str, array: wire.Tensor) -> str:
        if not np.isfinite(array).all():
            raise WeightsError(f"{name} holds NaN or infinity: training or calibration diverged")
        self._claim(name)
        self.tensors += wire.tensor(name, array)
        return name

    def _integers(self, values: range) -> str:
        """The constant that holds these integers."""
        one = len(values) == 1
        name = f"int{values.start}" if one else f"range{values.start}_{values.stop}_{values.step}"
        if f"constant.{name}" in self._constants:
            return f"constant.{name}"
        return self._constant(name, np.array(values, np.int64))

    def _constant(self, name: str, array: wire.Tensor) -> str:
        """A small constant that every node with the same need shares."""
        name = f"constant.{name}"
        if name not in self._constants:
            self._constants.add(self._tensor(name, array))
        return name

    def _emit(self, op_type: str, name: str, inputs: list[str], attributes: bytes = b"") -> str:
        self._claim(name)
        self.nodes.append(wire.node(op_type, name, inputs, name, attributes))
        return name

    def _claim(self, name: str) -> None:
        if name in self._names:
            raise ExportError(f"ONNX name {name!r} would stand twice: rename the node it comes from")
        self._names.add(name)


@lru_cache(maxsize=256)
def _window_attributes(kernel: int, stride: int, padding: int) -> bytes:
    return (
        wire.attribute_ints("kernel_shape", (kernel, kernel))
        + wire.attribute_ints("pads", (padding,) * 4)
        + wire.attribute_ints("strides", (stride, stride))
    )


@lru_cache(maxsize=1024)
def _conv_attributes(kernel: int, stride: int, padding: int, groups: int) -> bytes:
    return wire.attribute_int("group", groups) + _window_attributes(kernel, stride, padding)
