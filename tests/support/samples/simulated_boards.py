"""Boards of our own making that take a time for every node of a layer graph: for methods that carry latencies over.

Each is a caricature of one way in which boards differ: where time goes to bandwidth, to alignment and to operators that
fall back to a slower unit, to launches, or to a cache that is too small. Figures are in the range of small boards; none
is a model of a real one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from nas_engine.cost.latency_table import LatencyTable, TableEntry, operator_graphs
from nas_engine.domain.layer_graph import Concat, Conv2d, LayerGraph, Linear, Node, Slice, num_elements
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.domain.search_space import SearchSpace
from nas_engine.domain.views.complexity import node_macs, node_params

Board = Callable[[LayerGraph], float]
"""Microseconds for one image, without noise."""


def _moved_bytes(graph: LayerGraph, node: Node) -> float:
    """Read and written in float32, weights included."""
    inputs = sum(num_elements(graph.nodes[i].shape) for i in node.inputs)
    return 4.0 * (num_elements(node.shape) + inputs + node_params(node))


def _works(node: Node) -> bool:
    """Whether a runtime runs it by itself: what is folded into a convolution costs nothing."""
    return bool(node.inputs) and type(node).__name__ not in ("BatchNorm", "Activation", "Flatten")


def cpu_us(graph: LayerGraph) -> float:
    """A processor: each node takes the longer of its arithmetic (8 GMAC/s) and its traffic (6 GB/s)."""
    nodes = [node for node in graph.nodes if _works(node)]
    return sum(2.0 + max(node_macs(node) / 8e3, _moved_bytes(graph, node) / 6e3) for node in nodes)


def npu_us(graph: LayerGraph) -> float:
    """An accelerator: channels are filled up to 32, depthwise ones use a tenth of it, and what moves channels about
    (concatenation, slices) runs on the processor, with a transfer either way.
    """
    total, on_processor = 50.0, False
    for node in graph.nodes:
        if not _works(node):
            continue
        falls_back = isinstance(node, Concat | Slice)
        if falls_back != on_processor:
            total += 30.0 + _moved_bytes(graph, node) / 2e4
            on_processor = falls_back
        if falls_back:
            total += _moved_bytes(graph, node) / 4e3
        elif isinstance(node, Conv2d | Linear):
            is_depthwise = isinstance(node, Conv2d) and node.groups > 1 and node.weight.shape[1] == 1
            width = node.shape[0]
            filled = math.ceil(width / 32) * 32 / width
            total += 5.0 + node_macs(node) * filled / (3e4 if is_depthwise else 3e5)
        else:
            total += 5.0 + _moved_bytes(graph, node) / 3e4
    return total


def launches_us(graph: LayerGraph) -> float:
    """A graphics processor with one image: what counts are the launches, 12 us each, and a little bandwidth."""
    return sum(12.0 + _moved_bytes(graph, node) / 1e5 for node in graph.nodes if _works(node))


def small_cache_us(graph: LayerGraph) -> float:
    """A microprocessor: as `cpu_us` at a fifth of the speed; traffic beyond 64 KiB a node costs six times as much."""
    total = 0.0
    for node in graph.nodes:
        if _works(node):
            moved = _moved_bytes(graph, node)
            spilled = max(moved - 65_536.0, 0.0)
            total += 5.0 + node_macs(node) / 1.6e3 + (moved + 5.0 * spilled) / 1.2e3
    return total


def distorted_us(graph: LayerGraph) -> float:
    """A board that orders all networks as `cpu_us` does: its latency is a bent function of that one's."""
    return 40.0 + 30.0 * math.log1p(cpu_us(graph) / 50.0) ** 2


BOARDS: Mapping[str, Board] = {
    "cpu": cpu_us,
    "npu": npu_us,
    "launches": launches_us,
    "small cache": small_cache_us,
    "distorted": distorted_us,
}


def board_table(space: SearchSpace, board: Board, noise: float = 0.0, seed: int = 0) -> LatencyTable:
    """A complete table of a space; `noise` is the standard deviation of each time, as a fraction."""
    rng = np.random.default_rng(seed)
    entries = {
        one.key: TableEntry(one.label, board(one.graph) * (1.0 + noise * float(rng.normal())))
        for one in operator_graphs(space, batch=1, dtype=Dtype.FP32)
    }
    return LatencyTable(space_id=space.space_id, hardware_key="h" * 64, batch=1, dtype=Dtype.FP32, entries=entries)
