"""Layer-time view of a layer graph: which block each step of an inference engine belongs to.

Engines fuse layers and name the result after one of them, with marks of their own: ``stem.relu_nchwc`` and
``fused stem.conv`` (ONNX Runtime), ``Conv:stem.conv`` (the RKNN compiler). Exported nodes bear the names of the
graph's, or begin with them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.views.block_summary import BlockSummary, summarise_blocks

_SEPARATORS = re.compile(r"[\s:/]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLayers:
    """The steps of an engine that belong to one block.

    Attributes:
        summary: the block; None for steps of the engine's own, such as changes of memory layout.
        layers: numbers of the steps, in order.
    """

    summary: BlockSummary | None
    layers: tuple[int, ...]


def node_of_layer(name: str, nodes: Container[str]) -> str | None:
    """The graph's node that an engine's step is named after; None for a step of its own."""
    for part in reversed(_SEPARATORS.split(name)):
        while part:
            if part in nodes:
                return part
            part = part[: max(part.rfind("."), part.rfind("_"), 0)]
    return None


def layers_by_block(graph: LayerGraph, names: Sequence[str]) -> tuple[BlockLayers, ...]:
    """Group the steps of an engine by the blocks of a DEPLOYED graph, in the graph's order.

    Blocks without a step of their own (wholly fused into others) are there with none; steps that belong to no block
    come last, where there are any.
    """
    blocks = summarise_blocks(graph)
    place: dict[tuple[str, str], int] = {}
    for number, block in enumerate(blocks):
        place.setdefault((block.block, block.operator), number)
    of_node = {node.name: place.get((node.block, node.operator)) for node in graph.nodes}
    found: list[list[int]] = [[] for _ in blocks]
    rest: list[int] = []
    for number, name in enumerate(names):
        node = node_of_layer(name, of_node)
        at = None if node is None else of_node[node]
        (rest if at is None else found[at]).append(number)
    grouped = [BlockLayers(summary=block, layers=tuple(layers)) for block, layers in zip(blocks, found, strict=True)]
    return (*grouped, BlockLayers(summary=None, layers=tuple(rest))) if rest else tuple(grouped)
