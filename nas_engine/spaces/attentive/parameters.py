"""Parameters of the AttentiveNAS space: the published tables, or a small-image variant."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod

from nas_engine.spaces.parameters import check, check_depth

Options = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentiveParameters:
    """Everything that varies between the published space and small-image variants.

    Options are listed from small to large. A stage with expansion (1,) has no expand convolution, so 1
    stands alone.

    Attributes:
        num_classes: outputs of the classifier.
        input_channels: 3 for colour, 1 for grey.
        resolutions: height and width of the image, pixels.
        stem_channels, stem_stride: the first 3x3 convolution.
        stage_channels, stage_depths, stage_kernels, stage_expand_ratios: options per stage.
        stage_strides: stride of the first block of each stage.
        stage_squeeze_excite: whether the blocks of a stage have a gate.
        head_channels: options of the last layer before the classifier.
        dropout: rate before the classifier in the SUPERNET form.
        drop_connect: rate of stochastic depth at the end of the network in the SUPERNET form; a block of
            the last two stages has the rate times its share of the depth (published: 0.2 * index / 37).
    """

    num_classes: int = 1000
    input_channels: int = 3
    resolutions: Options = (192, 224, 256, 288)
    stem_channels: Options = (16, 24)
    stem_stride: int = 2
    stage_channels: tuple[Options, ...] = (
        (16, 24),
        (24, 32),
        (32, 40),
        (64, 72),
        (112, 120, 128),
        (192, 200, 208, 216),
        (216, 224),
    )
    stage_depths: tuple[Options, ...] = (
        (1, 2),
        (3, 4, 5),
        (3, 4, 5, 6),
        (3, 4, 5, 6),
        (3, 4, 5, 6, 7, 8),
        (3, 4, 5, 6, 7, 8),
        (1, 2),
    )
    stage_kernels: tuple[Options, ...] = ((3, 5),) * 7
    stage_expand_ratios: tuple[Options, ...] = ((1,), (4, 5, 6), (4, 5, 6), (4, 5, 6), (4, 5, 6), (6,), (6,))
    stage_strides: Options = (1, 2, 2, 2, 1, 2, 1)
    stage_squeeze_excite: tuple[bool, ...] = (False, False, True, False, True, True, True)
    head_channels: Options = (1792, 1984)
    dropout: float = 0.2
    drop_connect: float = 0.2

    @property
    def widths(self) -> tuple[Options, ...]:
        """Width options of the stem, every stage and the head."""
        return (self.stem_channels, *self.stage_channels, self.head_channels)

    def __post_init__(self) -> None:
        check(self.num_classes >= 2, "num_classes", self.num_classes, "2 or more")
        check(self.input_channels >= 1, "input_channels", self.input_channels, "1 or more")
        check(self.stem_stride in (1, 2), "stem_stride", self.stem_stride, "1 or 2")
        for name, rate in (("dropout", self.dropout), ("drop_connect", self.drop_connect)):
            check(0.0 <= rate < 1.0, name, rate, "in [0, 1)")
        for name in ("resolutions", "stem_channels", "head_channels"):
            _check_options(name, getattr(self, name))
        self._check_stages()
        least = self.stem_stride * prod(self.stage_strides)
        check(self.resolutions[0] >= least, "resolutions", self.resolutions, f"at least {least} for these strides")

    def _check_stages(self) -> None:
        length = len(self.stage_channels)
        check(length >= 1, "stage_channels", self.stage_channels, "one list of widths per stage")
        for name in ("stage_channels", "stage_depths", "stage_kernels", "stage_expand_ratios"):
            values: tuple[Options, ...] = getattr(self, name)
            check(len(values) == length, name, values, f"as long as stage_channels ({length})")
            for options in values:
                _check_options(name, options)
        check_depth("stage_depths", self.stage_depths, sum(depths[-1] for depths in self.stage_depths))
        for name in ("stage_strides", "stage_squeeze_excite"):
            check(
                len(getattr(self, name)) == length, name, getattr(self, name), f"as long as stage_channels ({length})"
            )
        check(all(s in (1, 2) for s in self.stage_strides), "stage_strides", self.stage_strides, "1 or 2 each")
        for kernels in self.stage_kernels:
            check(all(k % 2 == 1 for k in kernels), "stage_kernels", kernels, "odd, so that a centre exists")
        for ratios in self.stage_expand_ratios:
            check(ratios == (1,) or ratios[0] > 1, "stage_expand_ratios", ratios, "(1,) alone, or all above 1")


def _check_options(name: str, options: Options) -> None:
    ascending = bool(options) and options[0] >= 1 and all(a < b for a, b in pairwise(options))
    check(ascending, name, options, "positive options from small to large, each once")
