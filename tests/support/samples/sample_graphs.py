"""Small layer graphs that tests of several views share."""

from __future__ import annotations

from nas_engine.domain.graph_builder import GraphBuilder, Shared
from nas_engine.domain.layer_graph import ActivationKind, CoefficientRef, Init, InitKind, LayerGraph, PoolKind
from nas_engine.domain.search_space import Form
from nas_engine.spaces.registry import create_space

INIT = Init(InitKind.NORMAL, 0.1)
ZERO = Init(InitKind.CONSTANT, 0.0)


def every_node_graph() -> LayerGraph:
    """Every node type and activation of the DEPLOYED form, folded and unfolded BN, shared weights."""
    g = GraphBuilder((3, 12, 12))
    with g.labelled("stem", "conv3"):
        x = g.conv(g.input, "stem.conv", out=8, kernel=3, stride=2, init=INIT, bias=ZERO)
        x = g.batch_norm(x, "stem.bn", affine=True)
        x = g.activation(x, "stem.relu6", ActivationKind.RELU6)
    with g.labelled("block0", "split"):
        even = g.slice(x, "block0.even", start=0, stop=8, step=2)
        odd = g.slice(x, "block0.odd", start=1, stop=8, step=2)
        odd = g.conv(odd, "block0.dw", out=4, kernel=5, groups=4, init=INIT, shared=Shared(out=6, kernel=7))
        odd = g.batch_norm(odd, "block0.dwbn", affine=False, eps=1e-3, full_features=6)
        odd = g.activation(odd, "block0.hswish", ActivationKind.HSWISH)
        x = g.concat((even, odd), "block0.concat")
    with g.labelled("block1", "excite"):
        gate = g.global_avg_pool(x, "block1.squeeze")
        gate = g.conv(gate, "block1.reduce", out=2, kernel=1, init=INIT, bias=ZERO, shared=Shared(out=4, in_=10))
        gate = g.activation(gate, "block1.swish", ActivationKind.SWISH)
        gate = g.conv(gate, "block1.expand", out=8, kernel=1, init=INIT, bias=ZERO)
        gate = g.activation(gate, "block1.gate", ActivationKind.HSIGMOID)
        y = g.mul(x, gate, "block1.scaled")
        y = g.batch_norm(y, "block1.bn", affine=True)  # its input is no convolution: it stays
        y = g.activation(y, "block1.sigmoid", ActivationKind.SIGMOID)
        x = g.add((x, y, g.activation(x, "block1.relu", ActivationKind.RELU)), "block1.add")
    with g.labelled("block2", "pool"):
        skip = g.pool(x, "block2.skip", PoolKind.MAX, kernel=1, stride=2)
        pooled = g.pool(x, "block2.max", PoolKind.MAX, kernel=3, stride=2, padding=1)
        mean = g.pool(x, "block2.mean", PoolKind.AVG, kernel=3, stride=2, padding=1, count_include_pad=False)
        padded = g.pool(x, "block2.padded", PoolKind.AVG, kernel=3, stride=2, padding=1, count_include_pad=True)
        x = g.add((skip, pooled, mean, padded), "block2.add")
        x = g.slice(x, "block2.first", start=0, stop=6)
    with g.labelled("head", "linear"):
        x = g.flatten(x, "head.flatten")
        x = g.linear(x, "head.hidden", out=7, init=INIT, bias=ZERO)
        x = g.linear(x, "head.linear", out=5, init=INIT, bias=None)
    return g.build(x)


def training_graph() -> LayerGraph:
    """A SUPERNET form: two branches under run-time coefficients, drop-connect and dropout."""
    g = GraphBuilder((2, 6, 6))
    with g.labelled("block0", "mix"):
        a = g.conv(g.input, "a", out=4, kernel=3, init=INIT)
        b = g.batch_norm(g.conv(g.input, "b", out=4, kernel=1, init=INIT), "b.bn", affine=False)
        x = g.weighted_sum(
            (a, g.drop_connect(b, "b.drop", 0.2)), "mix", [CoefficientRef("w", 1), CoefficientRef("w", 0)]
        )
    with g.labelled("head", "linear"):
        x = g.dropout(g.flatten(g.global_avg_pool(x, "pool"), "flatten"), "dropout", 0.5)
        x = g.linear(x, "linear", out=3, init=INIT, bias=None)
    return g.build(x)


def small_shufflenet(genotype: tuple[int, ...] = (0, 1, 2, 3)) -> LayerGraph:
    """A four-block SPOS network for 32-pixel images, DEPLOYED."""
    space = create_space(
        "spos",
        {
            "num_classes": 10,
            "input_size": 32,
            "stem_stride": 1,
            "stage_channels": [16, 32],
            "stage_repeats": [2, 2],
            "stem_channels": 8,
            "tail_channels": 64,
        },
    )
    graph = space.graph(space.decode(genotype), Form.DEPLOYED)
    assert graph is not None
    return graph
