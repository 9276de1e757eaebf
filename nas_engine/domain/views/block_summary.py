"""An architecture as a list of its blocks: what pictures and tables show of a layer graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from nas_engine.domain.layer_graph import Input, LayerGraph, Node
from nas_engine.domain.views.complexity import node_macs, node_params


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSummary:
    """Consecutive nodes with one block and operator label.

    Attributes:
        block, operator: the labels.
        channels: channels (or features) of the block's result.
        resolution: (height, width) of the result; None for a vector.
        stride: input height over output height; 1 for a vector.
        macs: multiply-accumulates for one image.
        params: trainable weights.
    """

    block: str
    operator: str
    channels: int
    resolution: tuple[int, int] | None
    stride: int
    macs: int
    params: int


@dataclass(frozen=True, slots=True)
class BlockPair:
    """A block of two architectures side by side; None where one of them does not have it."""

    first: BlockSummary | None
    second: BlockSummary | None

    @property
    def is_changed(self) -> bool:
        """Whether the two differ in anything."""
        return self.first != self.second


def summarise_blocks(graph: LayerGraph) -> tuple[BlockSummary, ...]:
    """The blocks of a graph in order, without the input."""
    runs: list[list[int]] = []
    for index, node in enumerate(graph.nodes):
        if isinstance(node, Input):
            continue
        last = graph.nodes[runs[-1][-1]] if runs else None
        if last is not None and (last.block, last.operator) == (node.block, node.operator):
            runs[-1].append(index)
        else:
            runs.append([index])
    return tuple(_summary(graph, run) for run in runs)


def align_blocks(first: Sequence[BlockSummary], second: Sequence[BlockSummary]) -> tuple[BlockPair, ...]:
    """Pair the blocks of two architectures by their block labels, keeping both orders."""
    matcher = SequenceMatcher(None, [b.block for b in first], [b.block for b in second], autojunk=False)
    pairs: list[BlockPair] = []
    for tag, first_start, first_stop, second_start, second_stop in matcher.get_opcodes():
        ours, theirs = first[first_start:first_stop], second[second_start:second_stop]
        if tag == "equal":
            pairs += (BlockPair(a, b) for a, b in zip(ours, theirs, strict=True))
        else:
            pairs += (BlockPair(a, None) for a in ours)
            pairs += (BlockPair(None, b) for b in theirs)
    return tuple(pairs)


def _summary(graph: LayerGraph, run: Sequence[int]) -> BlockSummary:
    nodes = [graph.nodes[index] for index in run]
    result = nodes[-1]
    before, after = _resolution(graph.nodes[nodes[0].inputs[0]]), _resolution(result)
    return BlockSummary(
        block=result.block,
        operator=result.operator,
        channels=result.shape[0],
        resolution=after,
        stride=1 if before is None or after is None else max(1, round(before[0] / after[0])),
        macs=sum(node_macs(node) for node in nodes),
        params=sum(node_params(node) for node in nodes),
    )


def _resolution(node: Node) -> tuple[int, int] | None:
    return (node.shape[1], node.shape[2]) if len(node.shape) == 3 else None
