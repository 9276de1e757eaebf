"""The SPOS search space: 20 choice blocks on a ShuffleNetV2 backbone, four choices each.

Source: Guo et al., Single Path One-Shot NAS (ECCV 2020), and the supplementary material of supernet
shifting (arXiv 2403.11380), Fig. 1 and Table 1. At 224 pixels and 1000 classes MACs and parameters
equal the published implementation to the unit; small-image variants are the same space with other
parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import cast

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import ActivationKind, Init, InitKind, LayerGraph
from nas_engine.domain.search_space import Form, Gene, NamedArchitecture
from nas_engine.spaces.choice_space import ChoiceSpace
from nas_engine.spaces.documents import resolve_name
from nas_engine.spaces.parameters import check, check_depth, require_own

SPACE_ID = "spos"
OPERATORS = ("shuffle3", "shuffle5", "shuffle7", "xception")
XCEPTION = 3
KERNELS = (3, 5, 7)
# Weight initialisation of the published supernet (reference: N(0, 1/fan_in channels), 0.01 for stem and head).
STEM_INIT = Init(InitKind.NORMAL, 0.01)
HEAD_INIT = Init(InitKind.NORMAL, 0.01)
BN_BETA = Init(InitKind.CONSTANT, 1e-4)

PUBLISHED = (
    NamedArchitecture(
        "spos-searched",
        [2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3],
        "megvii-model/SinglePathOneShot README: 323M MACs, 74.4 % top-1",
    ),
    NamedArchitecture("spos-all-shuffle3", [0] * 20, "megvii-model/SinglePathOneShot, uniform architecture"),
    NamedArchitecture("spos-all-shuffle5", [1] * 20, "megvii-model/SinglePathOneShot, uniform architecture"),
    NamedArchitecture("spos-all-shuffle7", [2] * 20, "megvii-model/SinglePathOneShot, uniform architecture"),
    NamedArchitecture("spos-all-xception", [3] * 20, "megvii-model/SinglePathOneShot, uniform architecture"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShuffleNetParameters:
    """Everything that varies between the published space and small-image variants.

    Attributes:
        num_classes: outputs of the classifier.
        input_size: height and width of the image, pixels.
        input_channels: 3 for colour, 1 for grey.
        stem_channels, stem_stride: the first 3x3 convolution.
        stage_channels, stage_repeats: width and number of choice blocks per stage; the first block
            of a stage has stride 2.
        tail_channels: the last 1x1 convolution.
        dropout: rate before the classifier in the SUPERNET form.
    """

    num_classes: int = 1000
    input_size: int = 224
    input_channels: int = 3
    stem_channels: int = 16
    stem_stride: int = 2
    stage_channels: tuple[int, ...] = (64, 160, 320, 640)
    stage_repeats: tuple[int, ...] = (4, 4, 8, 4)
    tail_channels: int = 1024
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check(self.num_classes >= 2, "num_classes", self.num_classes, "2 or more")
        check(self.input_channels >= 1, "input_channels", self.input_channels, "1 or more")
        check(self.stem_channels >= 1, "stem_channels", self.stem_channels, "1 or more")
        check(self.tail_channels >= 1, "tail_channels", self.tail_channels, "1 or more")
        check(self.stem_stride in (1, 2), "stem_stride", self.stem_stride, "1 or 2")
        check(0.0 <= self.dropout < 1.0, "dropout", self.dropout, "in [0, 1)")
        # The channel split takes every second channel of a half: widths divide by 4 (reference).
        widths_fit = bool(self.stage_channels) and all(c > 0 and c % 4 == 0 for c in self.stage_channels)
        check(widths_fit, "stage_channels", self.stage_channels, "multiples of 4")
        # A block with stride 2 passes its input's channels on beside the new ones: there must be some.
        widths_grow = all(wide > narrow for narrow, wide in pairwise((self.stem_channels, *self.stage_channels)))
        least_widths = f"each above the one before, the first above stem_channels ({self.stem_channels})"
        check(widths_grow, "stage_channels", self.stage_channels, least_widths)
        check(all(r >= 1 for r in self.stage_repeats), "stage_repeats", self.stage_repeats, "1 or more each")
        check_depth("stage_repeats", self.stage_repeats, sum(self.stage_repeats))
        same = len(self.stage_repeats) == len(self.stage_channels)
        check(same, "stage_repeats", self.stage_repeats, f"as long as stage_channels ({len(self.stage_channels)})")
        least = self.stem_stride * 2 ** len(self.stage_channels)
        check(self.input_size >= least, "input_size", self.input_size, f"at least {least} for this many strides")


class ShuffleNetSpace(ChoiceSpace[ShuffleNetParameters]):
    """`SearchSpace` of SPOS; see the module docstring."""

    def __init__(self, parameters: ShuffleNetParameters | None = None) -> None:
        super().__init__(parameters or ShuffleNetParameters())

    @property
    def space_id(self) -> str:
        return SPACE_ID

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """One gene per choice block, in depth order."""
        return tuple(
            Gene(f"stage{stage}.block{block}", OPERATORS, f"stage{stage}")
            for stage, repeats in enumerate(self._p.stage_repeats)
            for block in range(repeats)
        )

    @cached_property
    def named(self) -> Mapping[str, NamedArchitecture]:
        """Published models, where only the number of classes differs from the published space."""
        published = replace(ShuffleNetParameters(), num_classes=self._p.num_classes)
        return {model.name: model for model in PUBLISHED} if self._p == published else {}

    def decode(self, genotype: Sequence[int]) -> Architecture:
        """The architecture of a genotype."""
        return Architecture.of(SPACE_ID, self.parameters, list(self.canonical(genotype)))

    def parse(self, document: JsonValue) -> Architecture:
        """Read a published name or a genotype."""
        document = resolve_name(SPACE_ID, self.named, document)
        if not isinstance(document, Sequence):
            raise InvalidArchitectureError(
                f"cannot read {document!r}: give a published name or a list of choice indices"
            )
        return self.decode(cast(Sequence[int], document))

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        """The genotype is the architecture's own description."""
        require_own(self, architecture)
        return self.canonical(cast(Sequence[int], architecture.choices_value()))

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph:
        """Layer graph; the forms differ in BN affine and in the dropout before the classifier."""
        genotype = self.genotype_of(architecture)
        assert genotype is not None
        return _Writer(self._p, form).write(genotype)

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        """The uniform architectures: together they hold every choice of every block."""
        for choice in range(len(OPERATORS)):
            yield _Writer(self._p, Form.SUPERNET).write((choice,) * len(self.genes))


class _Writer:
    """Writes one network; holds what every layer of it shares."""

    def __init__(self, parameters: ShuffleNetParameters, form: Form) -> None:
        self._p = parameters
        self._form = form
        self._g = GraphBuilder((parameters.input_channels, parameters.input_size, parameters.input_size))

    def write(self, genotype: Genotype) -> LayerGraph:
        p, g = self._p, self._g
        with g.labelled("stem", "conv3"):
            x = self._conv_bn(
                g.input, "stem", out=p.stem_channels, kernel=3, stride=p.stem_stride, init=STEM_INIT, relu=True
            )
        choices = iter(genotype)
        for stage, (width, repeats) in enumerate(zip(p.stage_channels, p.stage_repeats, strict=True)):
            for block in range(repeats):
                x = self._block(x, f"stage{stage}.block{block}", next(choices), width, stride=1 if block else 2)
        with g.labelled("tail", "conv1"):
            x = self._conv_bn(x, "tail", out=p.tail_channels, kernel=1, relu=True)
        with g.labelled("head", "linear"):
            x = g.flatten(g.global_avg_pool(x, "head.pool"), "head.flatten")
            if self._form is Form.SUPERNET:
                x = g.dropout(x, "head.dropout", p.dropout)
            x = g.linear(x, "head.linear", out=p.num_classes, init=HEAD_INIT, bias=None)
        return g.build(x)

    def _block(self, x: int, block: str, choice: int, width: int, stride: int) -> int:
        """One choice block: concat(projection branch, main branch); stride 1 splits even/odd channels."""
        g, name = self._g, f"{block}.{OPERATORS[choice]}"
        with g.labelled(block, OPERATORS[choice]):
            if stride == 1:
                # The channel shuffle as two strided slices: even channels pass, odd ones are worked on.
                channels = g.channels(x)
                passed = g.slice(x, f"{name}.even", start=0, stop=channels, step=2)
                worked = g.slice(x, f"{name}.odd", start=1, stop=channels, step=2)
            else:
                kernel = 3 if choice == XCEPTION else KERNELS[choice]
                passed = self._depthwise(x, f"{name}.proj.0", kernel, stride)
                passed = self._conv_bn(passed, f"{name}.proj.1", out=g.channels(x), kernel=1, relu=True)
                worked = x
            out = width - g.channels(passed)
            mid, main = width // 2, f"{name}.main"
            if choice == XCEPTION:
                worked = self._depthwise(worked, f"{main}.0", 3, stride)
                worked = self._conv_bn(worked, f"{main}.1", out=mid, kernel=1, relu=True)
                worked = self._depthwise(worked, f"{main}.2", 3, 1)
                worked = self._conv_bn(worked, f"{main}.3", out=mid, kernel=1, relu=True)
                worked = self._depthwise(worked, f"{main}.4", 3, 1)
                worked = self._conv_bn(worked, f"{main}.5", out=out, kernel=1, relu=True)
            else:
                worked = self._conv_bn(worked, f"{main}.0", out=mid, kernel=1, relu=True)
                worked = self._depthwise(worked, f"{main}.1", KERNELS[choice], stride)
                worked = self._conv_bn(worked, f"{main}.2", out=out, kernel=1, relu=True)
            return g.concat((passed, worked), f"{name}.concat")

    def _depthwise(self, x: int, name: str, kernel: int, stride: int) -> int:
        c = self._g.channels(x)
        return self._conv_bn(x, name, out=c, kernel=kernel, stride=stride, groups=c, relu=False)

    def _conv_bn(
        self,
        x: int,
        name: str,
        *,
        out: int,
        kernel: int,
        relu: bool,
        stride: int = 1,
        groups: int = 1,
        init: Init | None = None,
    ) -> int:
        g = self._g
        init = init or Init(InitKind.NORMAL, groups / g.channels(x))
        x = g.conv(x, f"{name}.conv", out=out, kernel=kernel, stride=stride, groups=groups, init=init)
        x = g.batch_norm(x, f"{name}.bn", affine=self._form is Form.DEPLOYED, beta=BN_BETA)
        return g.activation(x, f"{name}.relu", ActivationKind.RELU) if relu else x
