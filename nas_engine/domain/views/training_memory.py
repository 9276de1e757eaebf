"""Training-memory view of a layer graph: bytes that a forward pass keeps for its backward pass. No torch.

The backward pass of a node reads some of its inputs or its output (PyTorch 2.13, tools/autograd/derivatives.yaml); each
such tensor is kept once, whoever reads it, until the backward pass is through. They are what bounds the images of one
pass: an update's own memory does not grow with the batch.
"""

from __future__ import annotations

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
        peak_bytes: the most that is there at once: those, and what is alive besides at the forward pass's worst node.
    """

    saved_bytes: int
    peak_bytes: int


def training_memory(graph: LayerGraph, trained: Trained = Trained.WEIGHTS, *, dropout: bool = True) -> TrainingMemory:
    """Count what one image keeps between the forward and the backward pass of a network.

    Args:
        graph: SUPERNET form of what one pass executes.
        trained: whether weights get gradients, or the coefficients of weighted sums alone.
        dropout: whether Dropout and DropConnect act, each of which keeps its mask.
    """
    home = _homes(graph)
    wanted = _with_gradient(graph, trained)
    kept: set[int] = set()
    extra = 0
    for index, node in enumerate(graph.nodes):
        if graph.last_use[index] == index or not wanted[index]:
            continue
        kept |= {home[one] for one in _reads(node, index, trained)}
        extra += _own_bytes(node, dropout=dropout)
    saved = extra + sum(_bytes(graph.nodes[one]) for one in kept)
    last_use: dict[int, int] = {}
    for index, one in enumerate(home):
        last_use[one] = max(last_use.get(one, -1), graph.last_use[index])
    num_nodes = len(graph.nodes)
    growth = [0] * (num_nodes + 2)  # bytes that each node adds to what is there, less what was read for the last time
    for one, last in last_use.items():
        growth[one] += _bytes(graph.nodes[one])
        growth[num_nodes if one in kept else last + 1] -= _bytes(graph.nodes[one])
    return TrainingMemory(saved, max(saved, max(accumulate(growth[:num_nodes])) + extra))


def _homes(graph: LayerGraph) -> list[int]:
    """For each node the node whose memory its value lies in: views and what is done in place have none of their own."""
    home: list[int] = []
    for index, node in enumerate(graph.nodes):
        source = node.inputs[0] if node.inputs else index
        match node:
            case Slice() | Flatten():
                home.append(home[source])
            # Overwrites the output of a batch normalisation that nobody else reads.
            case Activation(kind=ActivationKind.RELU) if _is_free(graph, source, index):
                home.append(home[source])
            case _:
                home.append(index)
    return home


def _is_free(graph: LayerGraph, source: int, index: int) -> bool:
    return isinstance(graph.nodes[source], BatchNorm) and graph.last_use[source] == index


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
