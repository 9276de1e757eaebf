"""Operator totals of a layer graph: how many nodes of each kind run, and what they compute and move.

What a device takes for a network is roughly a sum of such totals, each at a price of its own; which price is for
measurements to say. Batch normalisation and activations are left out: runtimes fold them into what stands before.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.layer_graph import (
    Add,
    Concat,
    Conv2d,
    GlobalAvgPool,
    LayerGraph,
    Linear,
    Mul,
    Node,
    Pool,
    Slice,
    num_elements,
)
from nas_engine.domain.views.complexity import node_macs, node_params


class OperatorKind(Enum):
    """Nodes that devices run with code of its own kind."""

    CONVOLUTION = "convolution"
    POINTWISE = "pointwise"
    GROUPED = "grouped"
    DEPTHWISE = "depthwise"
    LINEAR = "linear"
    POOLING = "pooling"
    JOINING = "joining"


QUANTITIES = ("nodes", "macs", "elements_moved", "params")
"""What is added up per kind: nodes, multiply-accumulates, elements read and written, and trainable weights."""


def operator_totals(graph: LayerGraph) -> NDArray[np.float64]:
    """Totals of a DEPLOYED graph for one image, (number of kinds, number of quantities), in their order."""
    kinds = list(OperatorKind)
    totals = np.zeros((len(kinds), len(QUANTITIES)))
    for node in graph.nodes:
        kind = _kind(node)
        if kind is not None:
            moved = num_elements(node.shape) + sum(num_elements(graph.nodes[i].shape) for i in node.inputs)
            totals[kinds.index(kind)] += (1, node_macs(node), moved, node_params(node))
    return totals


def _kind(node: Node) -> OperatorKind | None:
    match node:
        case Conv2d(groups=groups, weight=weight):
            if groups > 1:
                return OperatorKind.DEPTHWISE if weight.shape[1] == 1 else OperatorKind.GROUPED
            return OperatorKind.POINTWISE if weight.shape[2] == 1 else OperatorKind.CONVOLUTION
        case Linear():
            return OperatorKind.LINEAR
        case Pool() | GlobalAvgPool():
            return OperatorKind.POOLING
        case Add() | Mul() | Concat() | Slice():
            return OperatorKind.JOINING
        case _:
            return None
