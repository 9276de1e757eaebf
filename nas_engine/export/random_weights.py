"""Seeded random weights for a layer graph: for exports that only serve latency."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.layer_graph import (
    Activation,
    ActivationKind,
    Add,
    BatchNorm,
    Conv2d,
    Input,
    LayerGraph,
    Linear,
    Mul,
    WeightRef,
    WeightRole,
    num_elements,
)
from nas_engine.domain.statistics import BatchStatistics

Array = NDArray[np.float32]


def random_weights(graph: LayerGraph, seed: int) -> tuple[dict[str, Array], dict[str, BatchStatistics]]:
    """Full stored tensors by name and statistics by BatchNorm node name; equal seeds give equal values.

    Convolutions and linear layers are drawn as N(0, gain / fan-in), gain 2 before an activation
    (He et al. 2015, eq. 10) and 1 elsewhere, whatever the space's own initialisation. Statistics fit
    the magnitudes that such layers give, so that activations keep their scale through any depth: no
    overflow in float16, usable ranges for quantisation, and no amplified rounding in comparisons.
    All affine parameters and statistics vary, so that a forgotten term shows.
    """
    rng = np.random.default_rng(seed)
    activated = _activated_weights(graph)
    weights = {name: _draw(ref, 2.0 if name in activated else 1.0, rng) for name, ref in graph.weights.items()}
    squares = _mean_squares(graph, activated)
    statistics = {
        node.name: BatchStatistics(
            mean=rng.normal(0.0, 0.1 * squares[node.inputs[0]] ** 0.5, node.shape[0]).astype(np.float32),
            variance=(squares[node.inputs[0]] * rng.uniform(0.5, 1.5, node.shape[0])).astype(np.float32),
        )
        for node in graph.of_type(BatchNorm)
    }
    return weights, statistics


def _mean_squares(graph: LayerGraph, activated: Collection[str]) -> list[float]:
    """Rough mean square of every node's values for inputs of mean square 1 and weights drawn as above."""
    squares: list[float] = []
    for node in graph.nodes:
        inputs = [squares[source] for source in node.inputs]
        match node:
            case Input() | BatchNorm():
                squares.append(1.0)
            case Conv2d(weight=weight) | Linear(weight=weight):
                squares.append(inputs[0] * (2.0 if weight.name in activated else 1.0))
            case Activation(kind=ActivationKind.SIGMOID | ActivationKind.HSIGMOID):
                squares.append(0.3)
            case Activation():
                squares.append(inputs[0] / 2)
            case Mul():
                squares.append(inputs[0] * inputs[1])
            case Add():
                squares.append(sum(inputs))
            case _:
                squares.append(sum(inputs) / len(inputs))
    return squares


def _activated_weights(graph: LayerGraph) -> set[str]:
    """Names of the weights whose layer is read by an activation, directly or through a BatchNorm."""
    names: set[str] = set()
    for activation in graph.of_type(Activation):
        source = graph.nodes[activation.inputs[0]]
        if isinstance(source, BatchNorm):
            source = graph.nodes[source.inputs[0]]
        if isinstance(source, (Conv2d, Linear)):
            names.add(source.weight.name)
    return names


def _draw(ref: WeightRef, gain: float, rng: np.random.Generator) -> Array:
    match ref.role:
        case WeightRole.CONV | WeightRole.FC:
            deviation = (gain / max(1, num_elements(ref.full_shape[1:]))) ** 0.5
            values = rng.standard_normal(ref.full_shape, dtype=np.float32)
            return values * np.float32(deviation)
        case WeightRole.BN | WeightRole.BIAS:
            offsets: Array = rng.uniform(-0.1, 0.1, ref.full_shape).astype(np.float32)
            return offsets + np.float32(round(ref.init.value))
