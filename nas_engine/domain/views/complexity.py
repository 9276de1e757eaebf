"""Complexity view of a layer graph: MACs, parameters, peak activation memory. No torch, under 1 ms.

Definitions (as the reference counters of the four papers): MACs are multiply-accumulates of
convolutions and linear layers for one image, without BN, activations, pooling or bias; parameters are
the trainable weights of the graph's form, each shared weight counted by the part that is used.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.domain.layer_graph import (
    Activation,
    BatchNorm,
    Conv2d,
    Dropout,
    Flatten,
    LayerGraph,
    Linear,
    Node,
    num_elements,
    weight_refs,
)

ACTIVATION_BYTES = 4  # float32, the type every runtime here can run; other types scale it


@dataclass(frozen=True, slots=True)
class LayerComplexity:
    """Cost of one node that has weights."""

    name: str
    block: str
    operator: str
    macs: int
    params: int


@dataclass(frozen=True, slots=True)
class Complexity:
    """Cost of a whole network for one image.

    Attributes:
        macs: multiply-accumulates.
        params: trainable weights.
        peak_activation_bytes: largest sum of tensors alive at once in graph order, in float32;
            BN, activations, dropout and flatten are counted as done in place.
        layers: nodes with weights, in order.
    """

    macs: int
    params: int
    peak_activation_bytes: int
    layers: tuple[LayerComplexity, ...]


def complexity(graph: LayerGraph) -> Complexity:
    """Costs of a layer graph, per layer and in total."""
    layers = tuple(
        LayerComplexity(node.name, node.block, node.operator, node_macs(node), node_params(node))
        for node in graph.nodes
        if isinstance(node, (Conv2d, BatchNorm, Linear))
    )
    return Complexity(
        macs=sum(layer.macs for layer in layers),
        params=sum(layer.params for layer in layers),
        peak_activation_bytes=peak_activation_bytes(graph),
        layers=layers,
    )


def macs(graph: LayerGraph) -> int:
    """Count the multiply-accumulates of a whole network, as `Complexity.macs`."""
    return sum(map(node_macs, graph.nodes))


def params(graph: LayerGraph) -> int:
    """Count the trainable weights of a whole network, as `Complexity.params`."""
    return sum(map(node_params, graph.nodes))


def peak_activation_bytes(graph: LayerGraph) -> int:
    """Find the largest sum of tensors alive at once, as `Complexity.peak_activation_bytes`."""
    return _peak_elements(graph) * ACTIVATION_BYTES


def node_macs(node: Node) -> int:
    """Multiply-accumulates of one node for one image."""
    match node:
        case Conv2d(shape=(_, height, width), weight=weight):
            return num_elements(weight.shape) * height * width
        case Linear(weight=weight):
            return num_elements(weight.shape)
        case _:
            return 0


def node_params(node: Node) -> int:
    """Trainable weights of one node (the part that is used)."""
    return sum(num_elements(ref.shape) for ref in weight_refs(node))


def _peak_elements(graph: LayerGraph) -> int:
    """Peak of live elements; an in-place node takes over its input's memory when nobody else reads it."""
    alive: dict[int, int] = {}
    peak = total = 0
    for index, node in enumerate(graph.nodes):
        in_place = (
            isinstance(node, (Activation, BatchNorm, Dropout, Flatten)) and graph.last_use[node.inputs[0]] == index
        )
        alive[index] = num_elements(node.shape)
        total += alive[index]
        peak = max(peak, total - (alive[node.inputs[0]] if in_place else 0))
        for source in set(node.inputs):
            if graph.last_use[source] == index:
                total -= alive.pop(source)
    return peak
