"""Writes the layer graph of an AttentiveNAS sub-network; every weight is a slice of the supernet's.

Facts of the published model (facebookresearch/AttentiveNAS, reference/alphanet.md): swish everywhere; a
shortcut around every block (average pool where it strides, 1x1 convolution where the width changes);
squeeze-and-excite with hidden width make_divisible(mid // 4, 8); the efficient last stage of
MobileNetV3 (1x1 to six times the width, pool, 1x1 without BN).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from nas_engine.domain.graph_builder import NOT_SHARED, GraphBuilder, Shared
from nas_engine.domain.layer_graph import ONES, ZEROS, ActivationKind, Init, InitKind, LayerGraph, PoolKind
from nas_engine.domain.search_space import Form
from nas_engine.spaces.attentive.parameters import AttentiveParameters
from nas_engine.spaces.squeeze_excite import SqueezeExcite, squeeze_excite

HEAD_EXPANSION = 6  # use_v3_head of the published configuration
SE_REDUCTION = 4
CHANNEL_DIVISOR = 8
NUM_DROP_CONNECT_STAGES = 2  # drop_connect_only_last_two_stages


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetShape:
    """One sub-network, stage by stage; `width` also holds the stem's and the head's."""

    resolution: int
    width: tuple[int, ...]
    depth: tuple[int, ...]
    kernel_size: tuple[int, ...]
    expand_ratio: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """One inverted bottleneck: what is used, and the extents of its tensors in the supernet."""

    name: str
    out: int
    kernel: int
    expand: int
    stride: int
    gated: bool
    drop_connect: float
    full_in: int
    full_out: int
    full_kernel: int
    full_expand: int


def make_divisible(value: int, divisor: int = CHANNEL_DIVISOR) -> int:
    """`value` rounded to a multiple of `divisor`, at least one, never by more than 10 % down (MobileNet's rule).

    Below half a divisor the reference gives 1 or 9; the published space never gets there.
    """
    rounded = max(divisor, (2 * value + divisor) // (2 * divisor) * divisor)
    return rounded + divisor if 10 * rounded < 9 * value else rounded


class AttentiveWriter:
    """Writes one sub-network; holds what every layer of it shares."""

    def __init__(self, parameters: AttentiveParameters, form: Form) -> None:
        self._p = parameters
        self._form = form
        # The supernet's BN never moves running statistics (momentum 0); a stand-alone network's does.
        self._momentum = 0.0 if form is Form.SUPERNET else 0.1

    def write(self, subnet: SubnetShape) -> LayerGraph:
        """The layer graph of one sub-network."""
        p = self._p
        self._g = g = GraphBuilder((p.input_channels, subnet.resolution, subnet.resolution))
        with g.labelled("stem", "conv3"):
            x = self._conv(
                g.input, "stem", subnet.width[0], 3, stride=p.stem_stride, shared=Shared(out=p.stem_channels[-1])
            )
        for block in self._blocks(subnet):
            operator = f"e{block.expand}k{block.kernel}{'_se' if block.gated else ''}"
            with g.labelled(block.name, operator):
                x = self._block(x, block)
        return g.build(self._head(x, subnet.width[-1]))

    def _blocks(self, subnet: SubnetShape) -> list[_Block]:
        """The blocks that are used, numbered as in the supernet."""
        p, blocks = self._p, list[_Block]()
        num_blocks = sum(options[-1] for options in p.stage_depths)
        first = 0
        for stage, depths in enumerate(p.stage_depths):
            own, before = p.widths[stage + 1][-1], p.widths[stage][-1]
            late = stage >= len(p.stage_depths) - NUM_DROP_CONNECT_STAGES
            blocks += [
                _Block(
                    name=f"mb{stage + 1}.block{index}",
                    out=subnet.width[stage + 1],
                    kernel=subnet.kernel_size[stage],
                    expand=subnet.expand_ratio[stage],
                    stride=1 if index else p.stage_strides[stage],
                    gated=p.stage_squeeze_excite[stage],
                    drop_connect=p.drop_connect * (first + index) / num_blocks if late else 0.0,
                    full_in=own if index else before,
                    full_out=own,
                    full_kernel=p.stage_kernels[stage][-1],
                    full_expand=p.stage_expand_ratios[stage][-1],
                )
                for index in range(subnet.depth[stage])
            ]
            first += depths[-1]
        return blocks

    def _block(self, x: int, block: _Block) -> int:
        """Bottleneck plus shortcut; DropConnect acts where the shortcut is the identity."""
        g, name = self._g, block.name
        identity = block.stride == 1 and g.channels(x) == block.out
        y = self._bottleneck(x, block)
        if identity and block.drop_connect > 0 and self._form is Form.SUPERNET:
            y = g.drop_connect(y, f"{name}.drop_connect", block.drop_connect)
        return g.add((y, self._shortcut(x, block)), f"{name}.add")

    def _bottleneck(self, x: int, block: _Block) -> int:
        g, name = self._g, block.name
        mid, full_mid = g.channels(x), block.full_in
        y = x
        if block.full_expand > 1:
            mid = make_divisible(mid * block.expand)
            full_mid = make_divisible(full_mid * block.full_expand)
            y = self._conv(y, f"{name}.expand", mid, 1, shared=Shared(out=full_mid, in_=block.full_in))
        y = self._conv(
            y,
            f"{name}.depthwise",
            mid,
            block.kernel,
            stride=block.stride,
            groups=mid,
            shared=Shared(out=full_mid, kernel=block.full_kernel),
        )
        if block.gated:
            y = squeeze_excite(g, y, f"{name}.se", self._gate(mid, full_mid))
        return self._conv(
            y, f"{name}.project", block.out, 1, linear=True, shared=Shared(out=block.full_out, in_=full_mid)
        )

    def _gate(self, mid: int, full_mid: int) -> SqueezeExcite:
        hidden, full_hidden = (make_divisible(width // SE_REDUCTION) for width in (mid, full_mid))
        return SqueezeExcite(
            hidden=hidden,
            reduce_init=self._conv_init(hidden, full_mid, 1),
            expand_init=self._conv_init(mid, full_hidden, 1),
            reduce_bias=self._bias_init(full_mid),
            expand_bias=self._bias_init(full_hidden),
            reduce_shared=Shared(out=full_hidden, in_=full_mid),
            expand_shared=Shared(out=full_mid, in_=full_hidden),
        )

    def _shortcut(self, x: int, block: _Block) -> int:
        """Average pool where the block strides (padded by 1 if the size is odd), 1x1 convolution where it widens."""
        g, name = self._g, f"{block.name}.shortcut"
        if block.stride > 1:
            padding = g.shape(x)[-1] % 2
            x = g.pool(x, f"{name}.pool", PoolKind.AVG, kernel=block.stride, stride=block.stride, padding=padding)
        if g.channels(x) != block.out:
            init = self._conv_init(block.out, block.full_in, 1)
            shared = Shared(out=block.full_out, in_=block.full_in)
            x = g.conv(x, f"{name}.conv", out=block.out, kernel=1, init=init, shared=shared)
        return x

    def _head(self, x: int, width: int) -> int:
        g, p = self._g, self._p
        last, full = g.channels(x), p.stage_channels[-1][-1]
        wide = HEAD_EXPANSION * full
        with g.labelled("head", "v3"):
            x = self._conv(x, "head.expand", HEAD_EXPANSION * last, 1, shared=Shared(out=wide, in_=full))
            x = g.global_avg_pool(x, "head.pool")
            shared = Shared(out=p.head_channels[-1], in_=wide)
            x = g.conv(x, "head.mix.conv", out=width, kernel=1, init=self._conv_init(width, wide, 1), shared=shared)
            x = g.flatten(g.activation(x, "head.mix.act", ActivationKind.SWISH), "head.flatten")
        with g.labelled("classifier", "linear"):
            if self._form is Form.SUPERNET and p.dropout > 0:
                x = g.dropout(x, "classifier.dropout", p.dropout)
            init, bias = Init(InitKind.NORMAL, 0.01), ZEROS
            if self._form is Form.SUPERNET:
                init = bias = _torch_default(p.head_channels[-1])
            shared = Shared(in_=p.head_channels[-1])
            return g.linear(x, "classifier.linear", out=p.num_classes, init=init, bias=bias, shared=shared)

    def _conv(
        self,
        x: int,
        name: str,
        out: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        linear: bool = False,
        shared: Shared = NOT_SHARED,
    ) -> int:
        """Convolution, BN and swish; `linear` leaves the swish out and marks the last BN of a block."""
        g = self._g
        fan_in_channels = 1 if groups > 1 else (shared.in_ or g.channels(x))
        init = self._conv_init(out, fan_in_channels, kernel, shared.kernel)
        x = g.conv(x, f"{name}.conv", out=out, kernel=kernel, stride=stride, groups=groups, init=init, shared=shared)
        # zero_residual_block_bn_weights: every block starts as its shortcut, every block has one.
        gamma = ZEROS if linear and self._form is Form.SUPERNET else ONES
        x = g.batch_norm(
            x, f"{name}.bn", affine=True, momentum=self._momentum, gamma=gamma, full_features=shared.out or out
        )
        return x if linear else g.activation(x, f"{name}.act", ActivationKind.SWISH)

    def _conv_init(self, out: int, full_in: int, kernel: int, full_kernel: int | None = None) -> Init:
        """Supernet: PyTorch's default on the whole tensor; stand-alone: N(0, sqrt(2 / fan_out))."""
        if self._form is Form.SUPERNET:
            return _torch_default(full_in * (full_kernel or kernel) ** 2)
        return Init(InitKind.NORMAL, sqrt(2.0 / (out * kernel * kernel)))

    def _bias_init(self, full_in: int) -> Init:
        return _torch_default(full_in) if self._form is Form.SUPERNET else ZEROS


def _torch_default(fan_in: int) -> Init:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): what torch draws convolutions, linear layers and biases from."""
    return Init(InitKind.UNIFORM, 1.0 / sqrt(fan_in))
