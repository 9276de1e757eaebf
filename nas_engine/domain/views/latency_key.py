"""Latency key: what a measurement is filed under.

Latency does not depend on weights or names, so two networks with the same structure, input shape,
batch and data type share their measurements, whatever they were trained on.
"""

from __future__ import annotations

import hashlib

from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.domain.layer_graph import (
    Activation,
    BatchNorm,
    Conv2d,
    LayerGraph,
    Linear,
    Node,
    Pool,
    Slice,
    WeightedSum,
)
from nas_engine.domain.measuring.environment import Dtype

_SCHEMA = 1  # part of the hash: change it when the structure that is hashed changes


def latency_key(graph: LayerGraph, *, batch: int, dtype: Dtype) -> str:
    """sha256 (hex) of the graph's structure, input shape, batch and data type."""
    document: JsonValue = {
        "schema": _SCHEMA,
        "batch": batch,
        "dtype": dtype.value,
        "output": graph.output,
        "nodes": [[type(n).__name__, list(n.inputs), list(n.shape), _attributes(n)] for n in graph.nodes],
    }
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()


def _attributes(node: Node) -> JsonValue:
    """What changes a node's work beyond its inputs and shape."""
    match node:
        case Conv2d():
            kernel = node.weight.shape[2]
            return [kernel, node.stride, node.padding, node.groups, node.bias is not None]
        case BatchNorm():
            return [node.weight is not None]
        case Activation():
            return [node.kind.value]
        case Pool():
            return [node.kind.value, node.kernel, node.stride, node.padding, node.count_include_pad]
        case Slice():
            return [node.axis, node.start, node.stop, node.step]
        case Linear():
            return [node.bias is not None]
        case WeightedSum():
            return [len(node.coefficients)]
        case _:
            return []
