"""Training-memory view of a layer graph: bytes that a forward pass keeps for its backward pass. No torch.

The backward pass of a node reads some of its inputs or its output (PyTorch 2.13, tools/autograd/derivatives.yaml); each
such tensor is kept once, whoever reads it, until the backward pass is through. They are what bounds the images of one
pass: an update's own memory does not grow with the batch.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

from nas_engine.domain.layer_graph import (
    Activation,
    ActivationKind,
    BatchNorm,
    Conv2d,
    DropConnect,
    Dropout,
    Flatten,
    LayerGraph,
    Linear,
    Mul,
    Node,
    Pool,
    PoolKind,
    Slice,
    WeightedSum,
    num_elements,
)
from nas_engine.domain.views.recomputation import runs_in_place, segments_of

FLOAT_BYTES = 4
_INDEX_BYTES = 8  # of a maximum's place
_KEEPS_OUTPUT = (ActivationKind.RELU, ActivationKind.SIGMOID)


class Trained(Enum):
    """What a backward pass makes gradients of."""

    WEIGHTS = "weights"
    COEFFICIENTS = "coefficients"


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Bytes kept for one image in float32.

    Attributes:
        saved_bytes: of tensors that the backward pass reads, the image itself included.
        peak_bytes: the most that is there at once: those, and what is alive besides at the forward pass's worst node,
            or what the largest recomputed block keeps while the backward pass goes through it.
    """

    saved_bytes: int
    peak_bytes: int


def training_memory(
    graph: LayerGraph,
    trained: Trained = Trained.WEIGHTS,
    *,
    dropout: bool = True,
    recomputed: Collection[str] = (),
) -> TrainingMemory:
    """Count what one image keeps between the forward and the backward pass of a network.

    Args:
        graph: SUPERNET form of what one pass executes.
        trained: whether weights get gradients, or the coefficients of weighted sums alone.
        dropout: whether Dropout and DropConnect act, each of which keeps its mask.
        recomputed: blocks of which the inputs alone are kept.
    """
    home = _homes(graph)
    wanted = _with_gradient(graph, trained)
    segments = segments_of(graph, recomputed)
    segment_of = {index: number for number, one in enumerate(segments) for index in range(one.start, one.stop)}
    kept = {home[one] for segment in segments for one in segment.inputs}
    extra = 0
    again: list[set[int]] = [set() for _ in segments]  # what each recomputed block keeps while it is gone through
    again_extra = [0] * len(segments)
    for index, node in enumerate(graph.nodes):
        if graph.last_use[index] == index or not wanted[index]:
            continue
        read = {home[one] for one in _reads(node, index, trained)}
        number = segment_of.get(index)
        if number is None:
            kept |= read
            extra += _own_bytes(node, dropout=dropout)
        else:
            again[number] |= read
            again_extra[number] += _own_bytes(node, dropout=dropout)
    saved = extra + sum(_bytes(graph.nodes[one]) for one in kept)
    at_once = (
        more + sum(_bytes(graph.nodes[one]) for one in read - kept)
        for read, more in zip(again, again_extra, strict=True)
    )
    forward = _forward_peak(graph, home, kept) + extra
    return TrainingMemory(saved, max(saved + max(at_once, default=0), forward))


def _forward_peak(graph: LayerGraph, home: list[int], kept: set[int]) -> int:
    """The most bytes of values that are there at once in the forward pass, `kept` until its end."""
    last_use: dict[int, int] = {}
    for index, one in enumerate(home):
        last_use[one] = max(last_use.get(one, -1), graph.last_use[index])
    num_nodes = len(graph.nodes)
    growth = [0] * (num_nodes + 2)  # bytes that each node adds to what is there, less what was read for the last time
    for one, last in last_use.items():
        growth[one] += _bytes(graph.nodes[one])
        growth[num_nodes if one in kept else last + 1] -= _bytes(graph.nodes[one])
    return max(accumulate(growth[:num_nodes]))


def _homes(graph: LayerGraph) -> list[int]:
    """For each node the node whose memory its value lies in: views and what is done in place have none of their own."""
    home: list[int] = []
    for index, node in enumerate(graph.nodes):
        source = node.inputs[0] if node.inputs else index
        match node:
            case Slice() | Flatten():
                home.append(home[source])
            case Activation() if runs_in_place(graph, index):
                home.append(home[source])
            case _:
                home.append(index)
    return home


def _with_gradient(graph: LayerGraph, trained: Trained) -> list[bool]:
    """Whether the backward pass goes through each node."""
    found: list[bool] = []
    for node in graph.nodes:
        own = {
            Trained.WEIGHTS: isinstance(node, (Conv2d, Linear)) or (isinstance(node, BatchNorm) and node.weight),
            Trained.COEFFICIENTS: isinstance(node, WeightedSum),
        }[trained]
        found.append(bool(own) or any(found[source] for source in node.inputs))
    return found


def _reads(node: Node, index: int, trained: Trained) -> tuple[int, ...]:
    """Values that the backward pass of a node reads."""
    match node:
        case Conv2d() | BatchNorm() | Linear() | Pool():
            return node.inputs[:1]
        case Activation(kind=kind):
            return (index,) if kind in _KEEPS_OUTPUT else node.inputs
        case Mul():
            return node.inputs
        case WeightedSum() if trained is Trained.COEFFICIENTS:
            return node.inputs
        case _:
            return ()


def _own_bytes(node: Node, *, dropout: bool) -> int:
    """What the backward pass of a node reads beside values: masks, and the places of maxima."""
    match node:
        case Dropout(rate=rate) if dropout and rate:
            return _bytes(node)
        case DropConnect(rate=rate) if dropout and rate:
            return FLOAT_BYTES
        case Pool(kind=PoolKind.MAX):
            return num_elements(node.shape) * _INDEX_BYTES
        case _:
            return 0


def _bytes(node: Node) -> int:
    return num_elements(node.shape) * FLOAT_BYTES
