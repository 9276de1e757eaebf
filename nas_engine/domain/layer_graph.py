"""The layer graph: one immutable description of a network, of which everything else is a view.

Shapes never hold the batch: an image node is (channels, height, width), a vector node is (features,).
Nodes stand in topological order in one flat tuple; edges are indices into it. Measured: interpreting
such a list is as fast as nested modules, and building one takes about 0.5 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from math import prod
from typing import TypeVar

from nas_engine.domain.errors import InvalidGraphError

Shape = tuple[int, ...]


class WeightRole(Enum):
    """What a weight is used for; the papers' weight decay differs by role."""

    CONV = "conv"
    BN = "bn"
    BIAS = "bias"
    FC = "fc"


class InitKind(Enum):
    """Distribution that a fresh weight is drawn from; `Init.value` is its parameter."""

    NORMAL = "normal"  # value: standard deviation, mean 0
    UNIFORM = "uniform"  # value: bound b of U(-b, b)
    CONSTANT = "constant"  # value: the constant


@dataclass(frozen=True, slots=True)
class Init:
    """How a fresh weight is drawn."""

    kind: InitKind
    value: float


ZEROS = Init(InitKind.CONSTANT, 0.0)
ONES = Init(InitKind.CONSTANT, 1.0)


@dataclass(frozen=True, slots=True)
class WeightRef:
    """A contiguous part of one shared weight.

    Attributes:
        name: key in the weight store, e.g. ``stage1.block0.shuffle5.main1.conv.weight``.
        full_shape: shape of the whole stored tensor.
        slices: (start, stop) per axis; covers elastic width and centre-cropped kernels.
        role: decides weight decay.
        init: how the whole tensor is drawn.
    """

    name: str
    full_shape: Shape
    slices: tuple[tuple[int, int], ...]
    role: WeightRole
    init: Init

    @property
    def shape(self) -> Shape:
        """Shape of the part that is used."""
        return tuple(stop - start for start, stop in self.slices)

    @property
    def is_full(self) -> bool:
        """Whether the part is the whole tensor."""
        return self.shape == self.full_shape


class ActivationKind(Enum):
    """Element-wise non-linearities. HSWISH = x*relu6(x+3)/6, SWISH = x*sigmoid(x), HSIGMOID = relu6(x+3)/6."""

    RELU = "relu"
    RELU6 = "relu6"
    HSWISH = "hswish"
    SWISH = "swish"
    SIGMOID = "sigmoid"
    HSIGMOID = "hsigmoid"


class PoolKind(Enum):
    """Spatial pooling. MAX with kernel 1, stride 2 is SCARLET's strided skip."""

    MAX = "max"
    AVG = "avg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What every node knows.

    Attributes:
        name: unique in the graph and stable across architectures of a space (a BN's calibrated
            statistics and running statistics are filed under it).
        inputs: indices of earlier nodes.
        shape: output shape without the batch.
        block: label of the block it belongs to, e.g. ``stage2.block1``.
        operator: label of the choice it is part of, e.g. ``shuffle5``.
    """

    name: str
    inputs: tuple[int, ...]
    shape: Shape
    block: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Input(Node):
    """The image a graph begins with, shape (channels, height, width)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2d(Node):
    """Square convolution with zero padding; weight is (out, in/groups, k, k)."""

    weight: WeightRef
    bias: WeightRef | None
    stride: int
    padding: int
    groups: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm(Node):
    """Batch normalisation over channels; weight and bias are None where affine=False.

    Attributes:
        full_features: width of the layer in the supernet (running statistics have that width).
        momentum: weight of the newest batch in running statistics (0 = never updated).
    """

    weight: WeightRef | None
    bias: WeightRef | None
    eps: float
    momentum: float
    full_features: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation(Node):
    """A non-linearity applied to every element; the shape stays."""

    kind: ActivationKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(Node):
    """A square pooling window over height and width."""

    kind: PoolKind
    kernel: int
    stride: int
    padding: int
    count_include_pad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalAvgPool(Node):
    """Mean over height and width, kept as (channels, 1, 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Node):
    """Sum of two or more inputs of one shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mul(Node):
    """Product of two inputs; the second may be (channels, 1, 1) and is broadcast (squeeze-and-excite)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Node):
    """Nodes joined along their channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Node):
    """``x[start:stop:step]`` along one axis; axis 0 is the channels (the batch is not counted)."""

    axis: int
    start: int
    stop: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatten(Node):
    """(channels, height, width) to (features,), in C order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear(Node):
    """Fully connected layer; weight is (out, in)."""

    weight: WeightRef
    bias: WeightRef | None


@dataclass(frozen=True, slots=True)
class CoefficientRef:
    """One element of a coefficient vector whose values arrive at run time."""

    name: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedSum(Node):
    """Sum of inputs, each times its coefficient (SUPERNET form only). One coefficient per input."""

    coefficients: tuple[CoefficientRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout(Node):
    """Element dropout, active only when the execution is told to train (SUPERNET form only)."""

    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DropConnect(Node):
    """Drops a whole sample's branch with the given rate and rescales (SUPERNET form only)."""

    rate: float


TRAINING_ONLY = (WeightedSum, Dropout, DropConnect)
_N = TypeVar("_N", bound=Node)


@dataclass(frozen=True)
class LayerGraph:
    """A network as an immutable DAG in topological order.

    Attributes:
        nodes: the first is the only `Input`.
        output: index of the node whose value is the network's answer (logits).
    """

    nodes: tuple[Node, ...]
    output: int

    def __post_init__(self) -> None:
        _check(self.nodes, self.output)

    @property
    def input_shape(self) -> Shape:
        """(channels, height, width) of the image: the resolution is part of the graph."""
        return self.nodes[0].shape

    @property
    def output_shape(self) -> Shape:
        """Shape of the answer, e.g. (1000,)."""
        return self.nodes[self.output].shape

    def of_type(self, kind: type[_N]) -> Iterator[_N]:
        """Nodes of one type, in order."""
        return (node for node in self.nodes if isinstance(node, kind))

    @cached_property
    def weights(self) -> dict[str, WeightRef]:
        """Every weight reference by name, in order of first use.

        Raises:
            InvalidGraphError: one name stands for two different stored tensors.
        """
        refs: dict[str, WeightRef] = {}
        for node in self.nodes:
            for ref in weight_refs(node):
                known = refs.setdefault(ref.name, ref)
                if known.full_shape != ref.full_shape or known.init != ref.init:
                    raise InvalidGraphError(
                        f"weight {ref.name} is used as {ref.full_shape} and as {known.full_shape}: one name, one tensor"
                    )
        return refs

    @cached_property
    def last_use(self) -> tuple[int, ...]:
        """For each node the index of the last node that reads it (itself when nobody does)."""
        last = list(range(len(self.nodes)))
        for index, node in enumerate(self.nodes):
            for source in node.inputs:
                last[source] = index
        last[self.output] = len(self.nodes)
        return tuple(last)


def weight_refs(node: Node) -> tuple[WeightRef, ...]:
    """The weights a node reads, weight before bias."""
    match node:
        case Conv2d(weight=weight, bias=bias) | Linear(weight=weight, bias=bias):
            return (weight,) if bias is None else (weight, bias)
        case BatchNorm(weight=gamma, bias=beta):
            return tuple(ref for ref in (gamma, beta) if ref is not None)
        case _:
            return ()


def num_elements(shape: Sequence[int]) -> int:
    """Product of a shape (1 for the empty shape)."""
    return prod(shape)


def _check(nodes: tuple[Node, ...], output: int) -> None:
    if not nodes or not isinstance(nodes[0], Input):
        raise InvalidGraphError("a layer graph starts with its Input node")
    if not 0 <= output < len(nodes):
        raise InvalidGraphError(f"output is node {output}, the graph has {len(nodes)} nodes")
    names: set[str] = set()
    for index, node in enumerate(nodes):
        if node.name in names:
            raise InvalidGraphError(f"node name {node.name!r} stands twice: names are unique")
        names.add(node.name)
        if index and (isinstance(node, Input) or not node.inputs):
            raise InvalidGraphError(f"node {node.name!r} has no input: only the first node may")
        if any(not 0 <= source < index for source in node.inputs):
            raise InvalidGraphError(f"node {node.name!r} reads {node.inputs}: edges point to earlier nodes only")
