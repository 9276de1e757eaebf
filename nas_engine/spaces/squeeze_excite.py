"""Squeeze-and-excite, lowered to the graph's own nodes (Hu et al., CVPR 2018).

Both SCARLET and AttentiveNAS place it after the depthwise activation: global mean, 1x1 convolution
with bias and ReLU, 1x1 convolution with bias and hard sigmoid, product with the input.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.domain.graph_builder import NOT_SHARED, GraphBuilder, Shared
from nas_engine.domain.layer_graph import ActivationKind, Init


@dataclass(frozen=True, slots=True, kw_only=True)
class SqueezeExcite:
    """One gate.

    Attributes:
        hidden: channels between the two convolutions.
        reduce_init, expand_init: how the two convolutions are drawn.
        reduce_bias, expand_bias: how their biases are drawn.
        reduce_shared, expand_shared: their extents in the supernet where widths are elastic.
    """

    hidden: int
    reduce_init: Init
    expand_init: Init
    reduce_bias: Init
    expand_bias: Init
    reduce_shared: Shared = NOT_SHARED
    expand_shared: Shared = NOT_SHARED


def squeeze_excite(g: GraphBuilder, x: int, name: str, gate: SqueezeExcite) -> int:
    """`x` times its gate; nodes are named ``{name}.pool``, ``.reduce``, ``.relu``, ``.expand``, ``.gate``, ``.mul``."""
    y = g.global_avg_pool(x, f"{name}.pool")
    y = g.conv(
        y,
        f"{name}.reduce",
        out=gate.hidden,
        kernel=1,
        init=gate.reduce_init,
        bias=gate.reduce_bias,
        shared=gate.reduce_shared,
    )
    y = g.activation(y, f"{name}.relu", ActivationKind.RELU)
    y = g.conv(
        y,
        f"{name}.expand",
        out=g.channels(x),
        kernel=1,
        init=gate.expand_init,
        bias=gate.expand_bias,
        shared=gate.expand_shared,
    )
    y = g.activation(y, f"{name}.gate", ActivationKind.HSIGMOID)
    return g.mul(x, y, f"{name}.mul")
