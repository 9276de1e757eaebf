"""Batch normalisation as a per-channel scale and shift, and where it folds into a convolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import ExportError
from nas_engine.domain.layer_graph import BatchNorm, Conv2d, LayerGraph

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class BatchNormValues:
    """The four vectors of one BatchNorm node, over the used width."""

    gamma: Vector
    beta: Vector
    mean: Vector
    variance: Vector


def foldable(graph: LayerGraph) -> dict[int, int]:
    """Index of each convolution whose only reader is a BatchNorm -> index of that BatchNorm."""
    readers = [0] * len(graph.nodes)
    for node in graph.nodes:
        for source in node.inputs:
            readers[source] += 1
    readers[graph.output] += 1
    return {
        node.inputs[0]: index
        for index, node in enumerate(graph.nodes)
        if isinstance(node, BatchNorm)
        and readers[node.inputs[0]] == 1
        and isinstance(graph.nodes[node.inputs[0]], Conv2d)
    }


def fold(
    weight: NDArray[np.float32], bias: Vector | None, values: BatchNormValues, eps: float, name: str
) -> tuple[NDArray[np.float32], Vector]:
    """Weight (out, in/groups, k, k) and bias (out,) of the convolution that does both.

    With s = gamma / sqrt(variance + eps): W' = s * W, b' = beta + s * (b - mean). The vectors are
    worked out in float64, so that folding adds one rounding only.

    Raises:
        ExportError: variance + eps is zero, so the layer divides by zero.
    """
    denominator = values.variance.astype(np.float64) + eps
    if not (denominator > 0).all():
        raise ExportError(f"{name}: variance + eps is 0 for some channel: recalibrate its statistics or set eps > 0")
    scale = values.gamma / np.sqrt(denominator)
    offset = -values.mean.astype(np.float64) if bias is None else bias.astype(np.float64) - values.mean
    shift = values.beta + scale * offset
    return weight * scale.astype(np.float32)[:, None, None, None], shift.astype(np.float32)
