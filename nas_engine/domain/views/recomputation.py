"""Recomputation view of a layer graph: blocks whose values a backward pass makes again instead of keeping. No torch.

Source: Chen et al., Training Deep Nets with Sublinear Memory Cost (arXiv 1604.06174). A block keeps what it reads from
others; what it makes for itself is freed and computed again. Gradients are the same numbers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from nas_engine.domain.layer_graph import Activation, ActivationKind, BatchNorm, LayerGraph


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring nodes of one block, executed as one.

    Attributes:
        start, stop: of the nodes' indices, stop excluded.
        block: whose they are.
        inputs: earlier nodes that they read.
        outputs: those of them that are read from outside.
    """

    start: int
    stop: int
    block: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def segments_of(graph: LayerGraph, blocks: Collection[str]) -> tuple[Segment, ...]:
    """The parts of a graph that belong to `blocks`, in order; a block that the graph lacks has none."""
    if not blocks:
        return ()
    bounds = _bounds(graph)
    return tuple(
        _segment(graph, start, stop) for start, stop in pairwise(bounds) if start and graph.nodes[start].block in blocks
    )


def runs_in_place(graph: LayerGraph, index: int) -> bool:
    """Whether a node overwrites its input: a ReLU after a batch normalisation that nobody else reads."""
    node = graph.nodes[index]
    if not isinstance(node, Activation) or node.kind is not ActivationKind.RELU:
        return False
    source = node.inputs[0]
    return isinstance(graph.nodes[source], BatchNorm) and graph.last_use[source] == index


def _bounds(graph: LayerGraph) -> list[int]:
    """Indices at which another block begins; never at a node that would overwrite what a recomputation reads."""
    nodes = graph.nodes
    changes = (
        index
        for index in range(1, len(nodes))
        if nodes[index].block != nodes[index - 1].block and not runs_in_place(graph, index)
    )
    return [0, *changes, len(nodes)]


def _segment(graph: LayerGraph, start: int, stop: int) -> Segment:
    alive = [index for index in range(start, stop) if graph.last_use[index] != index]
    inputs = {source for index in alive for source in graph.nodes[index].inputs if source < start}
    outputs = tuple(index for index in alive if graph.last_use[index] >= stop)
    return Segment(start, stop, graph.nodes[start].block, tuple(sorted(inputs)), outputs)
