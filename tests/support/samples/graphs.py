"""Small layer graphs that tests execute: fixed ones, random ones, and single blocks of a real space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nas_engine.domain.graph_builder import GraphBuilder, Shared
from nas_engine.domain.layer_graph import (
    ONES,
    ZEROS,
    ActivationKind,
    Init,
    InitKind,
    Input,
    LayerGraph,
    Node,
    PoolKind,
)

CONV_INIT = Init(InitKind.NORMAL, 0.3)


def conv_bn_relu(g: GraphBuilder, x: int, name: str, out: int, *, affine: bool = False, stride: int = 1) -> int:
    """conv3x3, BN, ReLU."""
    x = g.conv(x, f"{name}.conv", out=out, kernel=3, stride=stride, init=CONV_INIT)
    x = g.batch_norm(x, f"{name}.bn", affine=affine)
    return g.activation(x, f"{name}.relu", ActivationKind.RELU)


def classifier(g: GraphBuilder, x: int, num_classes: int) -> int:
    """Pool, flatten, linear with bias."""
    x = g.flatten(g.global_avg_pool(x, "head.pool"), "head.flatten")
    return g.linear(x, "head.linear", out=num_classes, init=CONV_INIT, bias=ZEROS)


def chain(channels: int = 4, *, affine: bool = False, num_classes: int = 3, dropout: float = 0.0) -> LayerGraph:
    """Two convolutions and a classifier on 1x8x8 images."""
    g = GraphBuilder((1, 8, 8))
    x = conv_bn_relu(g, g.input, "a", channels, affine=affine)
    x = conv_bn_relu(g, x, "b", channels, affine=affine, stride=2)
    if dropout:
        x = g.dropout(x, "dropout", dropout)
    return g.build(classifier(g, x, num_classes))


def elastic(width: int, kernel: int, *, full_width: int = 8, full_kernel: int = 5) -> LayerGraph:
    """A subnet with a part of a shared convolution's width and kernel."""
    g = GraphBuilder((2, 6, 6))
    shared = Shared(out=full_width, in_=2, kernel=full_kernel)
    x = g.conv(g.input, "conv", out=width, kernel=kernel, init=CONV_INIT, shared=shared, bias=CONV_INIT)
    x = g.batch_norm(x, "bn", affine=True, gamma=ONES, full_features=full_width)
    return g.build(x)


def random_graph(rng: np.random.Generator, num_nodes: int = 12) -> LayerGraph:
    """A random DAG over every node type that both execution and extraction know, ending in a classifier."""
    g = GraphBuilder((3, 8, 8))
    images = [g.conv(g.input, "stem", out=4, kernel=3, init=CONV_INIT)]
    for index in range(num_nodes):
        grow = _GROWTH[int(rng.integers(len(_GROWTH)))]
        images.append(grow(g, images, f"n{index}", rng))
    joined = g.concat([g.global_avg_pool(x, f"gap{i}") for i, x in enumerate(images)], "join")
    return g.build(g.linear(g.flatten(joined, "flatten"), "head", out=5, init=CONV_INIT, bias=CONV_INIT))


def cut_block(graph: LayerGraph, block: str) -> LayerGraph:
    """One block of a network as a graph of its own; it must read a single earlier value."""
    indices = [i for i, node in enumerate(graph.nodes) if node.block == block]
    sources = {s for i in indices for s in graph.nodes[i].inputs if s not in indices}
    assert len(sources) == 1
    (source,) = sources
    where = {source: 0} | {old: new for new, old in enumerate(indices, start=1)}
    first = Input(name="input", inputs=(), shape=graph.nodes[source].shape, block="input", operator="input")
    moved: list[Node] = [
        replace(graph.nodes[i], inputs=tuple(where[s] for s in graph.nodes[i].inputs)) for i in indices
    ]
    return LayerGraph((first, *moved), len(indices))


_Grow = Callable[[GraphBuilder, list[int], str, np.random.Generator], int]


def _pick(images: list[int], rng: np.random.Generator) -> int:
    return images[int(rng.integers(len(images)))]


def _conv(g: GraphBuilder, images: list[int], name: str, rng: np.random.Generator) -> int:
    x = _pick(images, rng)
    out, kernel = int(rng.integers(1, 5)) * 2, int(rng.choice([1, 3, 5]))
    bias = CONV_INIT if rng.integers(2) else None
    shared = Shared(out=out + 2, in_=g.channels(x) + 3, kernel=kernel + 2)
    return g.conv(x, name, out=out, kernel=kernel, init=CONV_INIT, bias=bias, shared=shared)


def _depthwise(g: GraphBuilder, images: list[int], name: str, rng: np.random.Generator) -> int:
    x = _pick(images, rng)
    c = g.channels(x)
    stride = int(rng.integers(1, 3)) if g.shape(x)[1] >= 4 else 1
    return g.conv(x, name, out=c, kernel=3, stride=stride, groups=c, init=CONV_INIT, shared=Shared(out=c + 1))


def _batch_norm(g: GraphBuilder, images: list[int], name: str, rng: np.random.Generator) -> int:
    x = _pick(images, rng)
    full = g.channels(x) + int(rng.integers(0, 3))
    return g.batch_norm(x, name, affine=bool(rng.integers(2)), gamma=CONV_INIT, beta=CONV_INIT, full_features=full)


def _activation(g: GraphBuilder, images: list[int], name: str, rng: np.random.Generator) -> int:
    kinds = list(ActivationKind)
    return g.activation(_pick(images, rng), name, kinds[int(rng.integers(len(kinds)))])


def _normalised_relu(g: GraphBuilder, images: list[int], name: str, rng: np.random.Generator) -> int:
    x = g.batch_norm(_pick(images, rng), f"{name}.bn", affine=False)
    if rng.integers(2):
        images.append(x)  # somebody else reads it too, so the ReLU must not overwrite it
    return g.activation(x, name, ActivationKind.RELU)


def _pool(g: GraphBuilder, images: list[int], name: str, rng: np.random.Generator) -> int:
    kind = PoolKind.MAX if rng.integers(2) else PoolKind.AVG
    count = bool(rng.integers(2))
    return g.pool(_pick(images, rng), name, kind, kernel=3, stride=1, padding=1, count_include_pad=count)


def _add(g: GraphBuilder, images: list[int], name: str, rng: np.random.Generator) -> int:
    x = _pick(images, rng)
    same = [i for i in images if g.shape(i) == g.shape(x)]
    return g.add([x, *same][:3] if len(same) > 1 else [x, x], name)


def _gate(g: GraphBuilder, images: list[int], name: str, rng: np.random.Generator) -> int:
    x = _pick(images, rng)
    pooled = g.global_avg_pool(x, f"{name}.pool")
    gate = g.conv(pooled, f"{name}.fc", out=g.channels(x), kernel=1, init=CONV_INIT, bias=CONV_INIT)
    return g.mul(x, g.activation(gate, f"{name}.gate", ActivationKind.HSIGMOID), name)


def _slice(g: GraphBuilder, images: list[int], name: str, rng: np.random.Generator) -> int:
    x = _pick(images, rng)
    if g.channels(x) < 2:
        return g.activation(x, name, ActivationKind.SWISH)
    return g.slice(x, name, start=int(rng.integers(0, 2)), stop=g.channels(x), step=2)


_GROWTH: tuple[_Grow, ...] = (
    _conv,
    _depthwise,
    _batch_norm,
    _activation,
    _normalised_relu,
    _pool,
    _add,
    _gate,
    _slice,
)
