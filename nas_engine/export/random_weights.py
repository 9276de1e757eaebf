"""Seeded random weights for a layer graph: for exports that only serve latency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.layer_graph import (
    Activation,
    BatchNorm,
    Conv2d,
    Init,
    LayerGraph,
    Linear,
    WeightRef,
    WeightRole,
    num_elements,
)
from nas_engine.domain.statistics import BatchStatistics

Array = NDArray[np.float32]


def random_weights(graph: LayerGraph, seed: int) -> tuple[dict[str, Array], dict[str, BatchStatistics]]:
    """Full stored tensors by name and statistics by BatchNorm node name; equal seeds give equal values.

    Convolutions and linear layers are drawn as N(0, gain / fan-in), gain 2 before an activation
    (He et al. 2015, eq. 10) and 1 elsewhere, whatever the space's own initialisation, so that
    activations keep their scale through any depth and a quantised export sees usable ranges. Affine
    parameters and statistics vary around 1 and 0, so a forgotten term shows in a comparison.
    """
    rng = np.random.default_rng(seed)
    activated = _activated_weights(graph)
    weights = {name: _draw(ref, 2.0 if name in activated else 1.0, rng) for name, ref in graph.weights.items()}
    statistics = {
        node.name: BatchStatistics(
            mean=rng.normal(0.0, 0.1, node.shape[0]).astype(np.float32),
            variance=rng.uniform(0.5, 1.5, node.shape[0]).astype(np.float32),
        )
        for node in graph.of_type(BatchNorm)
    }
    return weights, statistics


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
            return _around(ref.init, ref.full_shape, rng)


def _around(init: Init, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    values: Array = rng.uniform(-0.1, 0.1, shape).astype(np.float32)
    return values + np.float32(round(init.value))
