"""The SCARLET search spaces S1 and S2: 19 choice layers on a MobileNetV2 backbone, with skips.

Sources: Chu et al., SCARLET-NAS (ICCV-W 2021, arXiv 1908.06022) and its supplementary material,
section 3.1; published models of SCARLET-NAS and FairNAS. S1 has six inverted bottlenecks and a skip
per layer (ReLU6, as FairNAS on the same backbone); S2 gives every bottleneck a squeeze-and-excite
twin (HSwish, as the published SCARLET models). docs/explanation/scarlet.md says what is inferred.

A skip differs between the forms. SUPERNET: an equivariant learnable stabilizer (ELS), a purely linear
1x1 convolution with the layer's stride and width. DEPLOYED: nothing (the width does not change), or
subsampling where the layer strides; only this gives the published 23M MACs of the all-identity model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import prod, sqrt
from typing import cast

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import ZEROS, ActivationKind, Init, InitKind, LayerGraph, PoolKind
from nas_engine.domain.search_space import Form, Gene, NamedArchitecture
from nas_engine.spaces.choice_space import ChoiceSpace
from nas_engine.spaces.documents import resolve_name
from nas_engine.spaces.els import MERGED
from nas_engine.spaces.mobilenet_published import PUBLISHED_S1, PUBLISHED_S2
from nas_engine.spaces.parameters import check, check_depth, require_own
from nas_engine.spaces.squeeze_excite import SqueezeExcite, squeeze_excite

SKIP = "skip"
SE_REDUCTION = 4  # hidden channels of the gate = expanded channels // 4 (published models)


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """An inverted bottleneck MBExKy, optionally with squeeze-and-excite."""

    expand: int
    kernel: int
    squeeze_excite: bool

    @property
    def label(self) -> str:
        """E.g. ``e3k5`` or ``e6k7_se``."""
        return f"e{self.expand}k{self.kernel}{'_se' if self.squeeze_excite else ''}"


def _bottlenecks(squeeze_excite: bool) -> tuple[Bottleneck, ...]:
    """In the published order o = (x - 3) + (y - 3)/2 for MBExKy (seed footnote 1)."""
    return tuple(Bottleneck(expand, kernel, squeeze_excite) for expand in (3, 6) for kernel in (3, 5, 7))


@dataclass(frozen=True, slots=True)
class Variant:
    """What tells S1 from S2. The skip is always the last choice, after the bottlenecks."""

    space_id: str
    bottlenecks: tuple[Bottleneck, ...]
    activation: ActivationKind
    published: tuple[NamedArchitecture, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the choices, in index order."""
        return (*(operator.label for operator in self.bottlenecks), SKIP)

    def space(self, parameters: MobileNetParameters) -> MobileNetSpace:
        """Make the space with these parameters."""
        return MobileNetSpace(self, parameters)


S1 = Variant("scarlet-s1", _bottlenecks(False), ActivationKind.RELU6, PUBLISHED_S1)
S2 = Variant("scarlet-s2", _bottlenecks(False) + _bottlenecks(True), ActivationKind.HSWISH, PUBLISHED_S2)


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileNetParameters:
    """Everything that varies between the published spaces and small-image variants.

    Attributes:
        num_classes: outputs of the classifier.
        input_size: height and width of the image, pixels.
        input_channels: 3 for colour, 1 for grey.
        stem_channels, stem_stride: the first 3x3 convolution and the depthwise one after it.
        first_channels: output of the separable stem; input of the first choice layer.
        stage_channels, stage_repeats, stage_strides: width, number of choice layers and stride of
            the first layer, per stage; widths never shrink.
        tail_channels: the last 1x1 convolution.
    """

    num_classes: int = 1000
    input_size: int = 224
    input_channels: int = 3
    stem_channels: int = 32
    stem_stride: int = 2
    first_channels: int = 16
    stage_channels: tuple[int, ...] = (32, 40, 80, 96, 192, 320)
    stage_repeats: tuple[int, ...] = (2, 4, 4, 4, 4, 1)
    stage_strides: tuple[int, ...] = (2, 2, 2, 1, 2, 1)
    tail_channels: int = 1280

    def __post_init__(self) -> None:
        check(self.num_classes >= 2, "num_classes", self.num_classes, "2 or more")
        check(self.input_channels >= 1, "input_channels", self.input_channels, "1 or more")
        check(self.stem_channels >= 1, "stem_channels", self.stem_channels, "1 or more")
        check(self.tail_channels >= 1, "tail_channels", self.tail_channels, "1 or more")
        check(self.stem_stride in (1, 2), "stem_stride", self.stem_stride, "1 or 2")
        # A gate has a quarter of the expanded width, which is at least three times the input's.
        check(self.first_channels >= 2, "first_channels", self.first_channels, "2 or more")
        check(bool(self.stage_channels), "stage_channels", self.stage_channels, "one width per stage")
        widths = (self.first_channels, *self.stage_channels)
        grows = all(a <= b for a, b in pairwise(widths))
        check(grows, "stage_channels", self.stage_channels, f"never smaller than the width before ({widths[0]} first)")
        length = len(self.stage_channels)
        for name, values in (("stage_repeats", self.stage_repeats), ("stage_strides", self.stage_strides)):
            check(len(values) == length, name, values, f"as long as stage_channels ({length})")
        check(all(r >= 1 for r in self.stage_repeats), "stage_repeats", self.stage_repeats, "1 or more each")
        check_depth("stage_repeats", self.stage_repeats, sum(self.stage_repeats))
        check(all(s in (1, 2) for s in self.stage_strides), "stage_strides", self.stage_strides, "1 or 2 each")
        least = self.stem_stride * prod(self.stage_strides)
        check(self.input_size >= least, "input_size", self.input_size, f"at least {least} for these strides")


@dataclass(frozen=True, slots=True)
class _Layer:
    """One choice layer of the backbone."""

    name: str
    stage: str
    width: int
    stride: int


class MobileNetSpace(ChoiceSpace[MobileNetParameters]):
    """`SearchSpace` of SCARLET S1 or S2; see the module docstring."""

    def __init__(self, variant: Variant, parameters: MobileNetParameters | None = None) -> None:
        self._variant = variant
        super().__init__(parameters or MobileNetParameters())

    @property
    def space_id(self) -> str:
        """``scarlet-s1`` or ``scarlet-s2``."""
        return self._variant.space_id

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """One gene per choice layer, in depth order."""
        return tuple(Gene(layer.name, self._variant.labels, layer.stage) for layer in self._layers)

    @cached_property
    def named(self) -> Mapping[str, NamedArchitecture]:
        """Published models, where only the number of classes differs from the published space."""
        published = replace(MobileNetParameters(), num_classes=self._p.num_classes)
        return {model.name: model for model in self._variant.published} if self._p == published else {}

    def decode(self, genotype: Sequence[int]) -> Architecture:
        """The architecture of a genotype; its choices are the labels of the layers."""
        labels = [self._variant.labels[choice] for choice in self.canonical(genotype)]
        return Architecture.of(self.space_id, self.parameters, labels)

    def parse(self, document: JsonValue) -> Architecture:
        """Read a published name, a genotype, or a list of labels such as ``["e3k5", "skip", ...]``."""
        document = resolve_name(self.space_id, self.named, document)
        if not isinstance(document, Sequence) or isinstance(document, str):
            raise InvalidArchitectureError(
                f"cannot read {document!r}: give a published name, a list of choice indices, or a list of labels"
            )
        if any(isinstance(choice, str) for choice in document):
            return self.decode([self._choice_of(*item) for item in enumerate(document)])
        return self.decode(cast(Sequence[int], document))

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        """The genotype; every architecture of these spaces has one."""
        require_own(self, architecture)
        labels = cast(Sequence[JsonValue], architecture.choices_value())
        return self.canonical([self._choice_of(*item) for item in enumerate(labels)])

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph:
        """The layer graph in one form."""
        genotype = self.genotype_of(architecture)
        assert genotype is not None
        return self._write(genotype, form)

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        """The uniform architectures: together they hold every choice of every layer."""
        for choice in range(len(self._variant.labels)):
            yield self._write((choice,) * len(self.genes), Form.SUPERNET)

    @cached_property
    def _layers(self) -> tuple[_Layer, ...]:
        p = self._p
        return tuple(
            _Layer(f"stage{stage}.layer{index}", f"stage{stage}", width, 1 if index else stride)
            for stage, (width, repeats, stride) in enumerate(
                zip(p.stage_channels, p.stage_repeats, p.stage_strides, strict=True)
            )
            for index in range(repeats)
        )

    def _choice_of(self, position: int, label: JsonValue) -> int:
        if label not in self._variant.labels:
            where = self.genes[position].name if position < len(self.genes) else "beyond the last layer"
            allowed = ", ".join(self._variant.labels)
            raise InvalidArchitectureError(f"gene {position} ({where}) is {label!r}: allowed are {allowed}")
        return self._variant.labels.index(str(label))

    def _write(self, genotype: Genotype, form: Form) -> LayerGraph:
        return _Writer(self._p, self._variant, form).write(self._layers, genotype)


class _Writer:
    """Writes one network; holds what every layer of it shares."""

    def __init__(self, parameters: MobileNetParameters, variant: Variant, form: Form) -> None:
        self._p = parameters
        self._variant = variant
        self._form = form
        self._g = GraphBuilder((parameters.input_channels, parameters.input_size, parameters.input_size))
        self._after_skip = False  # whether the next convolution takes a stripped stabilizer in

    def write(self, layers: tuple[_Layer, ...], genotype: Genotype) -> LayerGraph:
        p, g, relu6 = self._p, self._g, ActivationKind.RELU6
        with g.labelled("stem", "separable"):
            x = self._conv(g.input, "stem.conv", out=p.stem_channels, kernel=3, stride=p.stem_stride, act=relu6)
            x = self._conv(x, "stem.depthwise", out=p.stem_channels, kernel=3, groups=p.stem_channels, act=relu6)
            x = self._conv(x, "stem.project", out=p.first_channels, kernel=1)
        for layer, choice in zip(layers, genotype, strict=True):
            with g.labelled(layer.name, self._variant.labels[choice]):
                if choice == len(self._variant.bottlenecks):
                    x = self._skip(x, layer)
                else:
                    x = self._bottleneck(x, layer, self._variant.bottlenecks[choice])
        with g.labelled("tail", "conv1"):
            x = self._conv(x, "tail", out=p.tail_channels, kernel=1, act=relu6)
        with g.labelled("head", "linear"):
            x = g.flatten(g.global_avg_pool(x, "head.pool"), "head.flatten")
            bound = Init(InitKind.UNIFORM, 1.0 / sqrt(p.num_classes))
            x = g.linear(x, "head.linear", out=p.num_classes, init=bound, bias=ZEROS)
        return g.build(x)

    def _skip(self, x: int, layer: _Layer) -> int:
        """ELS in the SUPERNET form (linear: no BN, activation or bias); subsampling or nothing when deployed."""
        if self._form is Form.SUPERNET:
            return self._g.conv(
                x, f"{layer.name}.els", out=layer.width, kernel=1, stride=layer.stride, init=_conv_init(layer.width, 1)
            )
        self._after_skip = True
        if layer.stride == 1:
            return x
        return self._g.pool(x, f"{layer.name}.subsample", PoolKind.MAX, kernel=1, stride=layer.stride)

    def _bottleneck(self, x: int, layer: _Layer, operator: Bottleneck) -> int:
        """Expand, depthwise, gate, project; the input is added where stride and width allow it."""
        g, act = self._g, self._variant.activation
        name = f"{layer.name}.{operator.label}"
        mid = g.channels(x) * operator.expand
        y = self._conv(x, f"{name}.expand", out=mid, kernel=1, act=act)
        y = self._conv(
            y, f"{name}.depthwise", out=mid, kernel=operator.kernel, stride=layer.stride, groups=mid, act=act
        )
        if operator.squeeze_excite:
            hidden = mid // SE_REDUCTION
            gate = SqueezeExcite(
                hidden=hidden,
                reduce_init=_conv_init(hidden, 1),
                expand_init=_conv_init(mid, 1),
                reduce_bias=ZEROS,
                expand_bias=ZEROS,
            )
            y = squeeze_excite(g, y, f"{name}.se", gate)
        y = self._conv(y, f"{name}.project", out=layer.width, kernel=1)
        residual = layer.stride == 1 and g.channels(x) == layer.width
        return g.add((x, y), f"{name}.add") if residual else y

    def _conv(
        self,
        x: int,
        name: str,
        *,
        out: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        act: ActivationKind | None = None,
    ) -> int:
        """Convolution, BN, and an activation unless it is None.

        The first convolution after a stripped skip has a name of its own, so that the supernet's weight,
        which stands after the stabilizer, is never taken for it by mistake.
        """
        g, suffix = self._g, MERGED if self._after_skip else ""
        self._after_skip = False
        x = g.conv(
            x,
            f"{name}.conv{suffix}",
            out=out,
            kernel=kernel,
            stride=stride,
            groups=groups,
            init=_conv_init(out, kernel),
        )
        x = g.batch_norm(x, f"{name}.bn", affine=True)
        return x if act is None else g.activation(x, f"{name}.act", act)


def _conv_init(out: int, kernel: int) -> Init:
    """N(0, sqrt(2 / (k*k*out))), as the published models are drawn."""
    return Init(InitKind.NORMAL, sqrt(2.0 / (kernel * kernel * out)))
