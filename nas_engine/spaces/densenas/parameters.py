"""Parameters of the DenseNAS spaces; the defaults are the published search configurations.

Source: JaminFong/DenseNAS, configs/imagenet_search_cfg_mbv2.yaml and imagenet_search_cfg_resnet.yaml.
Small-image variants are the same spaces with other values; everything is checked here, before any graph
is made.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas_engine.spaces.densenas.net_config import BASIC_BLOCK, mbconv_of
from nas_engine.spaces.densenas.routing import SKIP, Routing, RoutingBlock
from nas_engine.spaces.parameters import check

HEAD_BLOCK_OPERATOR = "mbconv_k3_t1"
MAX_BLOCKS = 128  # the published spaces have 17 and 21
MAX_LAYERS = 64  # stack layers of one block; the published spaces have up to 15
_MBCONVS = ("mbconv_k3_t3", "mbconv_k3_t6", "mbconv_k5_t3", "mbconv_k5_t6", "mbconv_k7_t3", "mbconv_k7_t6")


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseParameters:
    """What both families have; lists hold one value per block, the input block first.

    Attributes:
        num_classes: outputs of the classifier.
        input_size: height and width of the image, pixels.
        input_channels: 3 for colour, 1 for grey.
        stem_stride: of the first 3x3 convolution; 1 for small images.
        block_channels: widths; those of blocks with one feature size differ from each other.
        downsamplings: how often a block's feature map was halved since the stem (starts at 0).
        stages: non-decreasing; one value more than there are blocks, the last for the ending block.
        num_layers: stack layers after the head layer; 0 for the input block.
        max_connections: following blocks a block may connect to (M_i).
        last_channels: width of the ending block's 1x1 convolution.
    """

    num_classes: int = 1000
    input_size: int = 224
    input_channels: int = 3
    stem_stride: int = 2
    block_channels: tuple[int, ...]
    downsamplings: tuple[int, ...]
    stages: tuple[int, ...]
    num_layers: tuple[int, ...]
    max_connections: int
    last_channels: int
    head_operators: tuple[str, ...]
    stack_operators: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("input_channels", "max_connections", "last_channels"):
            value = getattr(self, name)
            check(value >= 1, name, value, "1 or more")
        check(self.num_classes >= 2, "num_classes", self.num_classes, "2 or more")
        check(self.stem_stride in (1, 2), "stem_stride", self.stem_stride, "1 or 2")
        self._check_blocks()
        for name in ("head_operators", "stack_operators"):
            operators = getattr(self, name)
            check(len(set(operators)) == len(operators) > 0, name, operators, "one or more, each once")
        least = self.stem_stride * 2 ** max(self.downsamplings)
        check(self.input_size >= least, "input_size", self.input_size, f"at least {least} for this many strides")

    def routing(self) -> Routing:
        """The block graph.

        Raises:
            InvalidSpaceError: a block that no path reaches or leaves.
        """
        # The ending block has the last block's feature size: a 1x1 convolution of stride 1.
        downsamplings = (*self.downsamplings, self.downsamplings[-1])
        columns = ((*self.block_channels, self.last_channels), downsamplings, self.stages, (*self.num_layers, 0))
        blocks = tuple(
            RoutingBlock(index=i, channels=channels, downsampling=halvings, stage=stage, num_layers=layers)
            for i, (channels, halvings, stage, layers) in enumerate(zip(*columns, strict=True))
        )
        return Routing(blocks, self.max_connections, self.head_operators, self.stack_operators)

    def _check_blocks(self) -> None:
        channels, halved, stages, layers = self.block_channels, self.downsamplings, self.stages, self.num_layers
        check(2 <= len(channels) <= MAX_BLOCKS, "block_channels", channels, f"of 2 to {MAX_BLOCKS} blocks")
        check(all(c >= 1 for c in channels), "block_channels", channels, "1 or more each")
        for name, values, length in (
            ("downsamplings", halved, len(channels)),
            ("num_layers", layers, len(channels)),
            ("stages", stages, len(channels) + 1),
        ):
            check(len(values) == length, name, values, f"{length} values: there are {len(channels)} blocks")
            check(all(v >= 0 for v in values), name, values, "0 or more each")
        check(halved[0] == 0 and list(halved) == sorted(halved), "downsamplings", halved, "ascending from 0")
        check(list(stages) == sorted(stages), "stages", stages, "ascending")
        check(layers[0] == 0, "num_layers", layers, "0 for the input block")
        check(max(layers) <= MAX_LAYERS, "num_layers", layers, f"{MAX_LAYERS} or less each")
        blocks = list(zip(channels, halved, strict=True))
        check(len(set(blocks)) == len(blocks), "block_channels", channels, "different for blocks of one feature size")


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseMbv2Parameters(DenseParameters):
    """The MobileNetV2-based space; `stem_channels` is the width before the input block's MBConv."""

    stem_channels: int = 16
    block_channels: tuple[int, ...] = (16, 24, 32, 40, 48, 56, 64, 72, 96, 112, 128, 160, 176, 192, 320, 352, 384)
    downsamplings: tuple[int, ...] = (0, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4)
    stages: tuple[int, ...] = (0, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6, 7)
    num_layers: tuple[int, ...] = (0, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0, 0, 0)
    max_connections: int = 4
    last_channels: int = 1984
    head_operators: tuple[str, ...] = _MBCONVS
    stack_operators: tuple[str, ...] = (*_MBCONVS, SKIP)

    def __post_init__(self) -> None:
        DenseParameters.__post_init__(self)
        check(self.stem_channels >= 1, "stem_channels", self.stem_channels, "1 or more")
        for name, values in (("head_operators", self.head_operators), ("stack_operators", self.stack_operators)):
            known = all(mbconv_of(o) is not None or (o == SKIP and name == "stack_operators") for o in values)
            check(known, name, values, "mbconv_k{3,5,7}_t{1..6}, and skip_connect in the stack only")


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseResNetParameters(DenseParameters):
    """The ResNet-based space: width and depth search with basic blocks."""

    block_channels: tuple[int, ...] = (
        *(32, 48, 56, 64, 72, 96, 112, 128, 144, 160, 176, 192, 208, 224),
        *(240, 256, 272, 288, 480, 496, 512),
    )
    downsamplings: tuple[int, ...] = (0, 1, 1, 1, 2, 2, 2, *(3,) * 7, *(4,) * 7)
    stages: tuple[int, ...] = (0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 7)
    num_layers: tuple[int, ...] = (0, 0, 0, 0, 5, 5, 5, 15, 15, 15, 15, 5, 5, 5, 5, 5, 5, 5, 1, 1, 1)
    max_connections: int = 10
    last_channels: int = 512
    head_operators: tuple[str, ...] = (BASIC_BLOCK,)
    stack_operators: tuple[str, ...] = (BASIC_BLOCK, SKIP)

    def __post_init__(self) -> None:
        DenseParameters.__post_init__(self)
        check(self.head_operators == (BASIC_BLOCK,), "head_operators", self.head_operators, f"[{BASIC_BLOCK!r}]")
        known = set(self.stack_operators) <= {BASIC_BLOCK, SKIP}
        check(known, "stack_operators", self.stack_operators, f"{BASIC_BLOCK} or {SKIP}")
