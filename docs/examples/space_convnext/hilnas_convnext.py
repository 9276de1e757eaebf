"""A search space like ConvNeXt (Liu et al., 2022), with BatchNorm for its LayerNorm and swish for its GELU."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, cast

from hilnas import SpaceDeclaration
from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import ZEROS, ActivationKind, Init, InitKind, LayerGraph
from nas_engine.domain.search_space import Form, Gene, NamedArchitecture
from nas_engine.spaces.choice_space import ChoiceSpace
from nas_engine.spaces.documents import resolve_name
from nas_engine.spaces.parameters import check, require_own

CHOICES = {"k3e2": (3, 2), "k3e4": (3, 4), "k7e2": (7, 2), "k7e4": (7, 4), "skip": None}  # kernel, expansion
STAGES, BLOCKS, INIT = 2, 2, Init(InitKind.NORMAL, 0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvNextParameters:
    """What a search may change; every value is part of an architecture's identity."""

    num_classes: int = 10
    input_size: int = 32
    input_channels: int = 3
    width: int = 16

    def __post_init__(self) -> None:
        check(self.num_classes >= 2, "num_classes", self.num_classes, "2 or more")
        check(8 <= self.input_size <= 512, "input_size", self.input_size, "8 to 512")
        check(self.input_channels in (1, 3), "input_channels", self.input_channels, "1 or 3")
        check(1 <= self.width <= 1024, "width", self.width, "1 to 1024")


class ConvNextSpace(ChoiceSpace[ConvNextParameters]):
    """`SearchSpace`: a gene for each block, its depthwise kernel and its expansion, or that it is left out."""

    space_id = "convnext"
    named: ClassVar = {"convnext-plain": NamedArchitecture("convnext-plain", [3, 3, 3, 3], "arXiv 2201.03545")}

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        return tuple(
            Gene(f"stage{s}.block{b}", tuple(CHOICES), f"stage{s}") for s in range(STAGES) for b in range(BLOCKS)
        )

    def decode(self, genotype: Sequence[int]) -> Architecture:
        return Architecture.of(self.space_id, self.parameters, list(self.canonical(genotype)))

    def parse(self, document: JsonValue) -> Architecture:
        return self.decode(cast(Sequence[int], resolve_name(self.space_id, self.named, document)))

    def genotype_of(self, architecture: Architecture) -> Genotype:
        require_own(self, architecture)
        return self.canonical(cast(Sequence[int], architecture.choices_value()))

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph:
        g, genotype = GraphBuilder(self.input_shapes[0]), self.genotype_of(architecture)
        x = _conv_bn(g, g.input, "stem", self._p.width, kernel=2, stride=2)
        for position, (gene, choice) in enumerate(zip(self.genes, genotype, strict=True)):
            if position and position % BLOCKS == 0:
                x = _conv_bn(g, x, f"{gene.group}.downsample", 2 * g.channels(x), kernel=2, stride=2)
            with g.labelled(gene.name, label := gene.options[choice]):
                x = _block(g, x, f"{gene.name}.{label}", CHOICES[label], form)
        with g.labelled("head", "linear"):
            x = g.flatten(g.global_avg_pool(x, "head.pool"), "head.flatten")
            x = g.linear(x, "head.linear", out=self.num_classes, init=INIT, bias=ZEROS)
        return g.build(x)

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        for choice in range(len(CHOICES)):  # between them they hold every weight
            yield self.graph(self.decode([choice] * len(self.genes)), Form.SUPERNET)


def _block(g: GraphBuilder, x: int, name: str, choice: tuple[int, int] | None, form: Form) -> int:
    if choice is None:
        return x
    (kernel, expansion), channels = choice, g.channels(x)
    y = _conv_bn(g, x, f"{name}.depthwise", channels, kernel=kernel, groups=channels)
    y = g.conv(y, f"{name}.expand", out=expansion * channels, kernel=1, init=INIT)
    y = g.activation(y, f"{name}.swish", ActivationKind.SWISH)
    y = g.conv(y, f"{name}.project", out=channels, kernel=1, init=INIT)
    y = g.drop_connect(y, f"{name}.drop", 0.1) if form is Form.SUPERNET else y  # training only
    return g.add((x, y), f"{name}.add")


def _conv_bn(g: GraphBuilder, x: int, name: str, out: int, *, kernel: int, stride: int = 1, groups: int = 1) -> int:
    x = g.conv(x, f"{name}.conv", out=out, kernel=kernel, stride=stride, groups=groups, init=INIT)
    return g.batch_norm(x, f"{name}.bn", affine=True)


SPACE = SpaceDeclaration(
    name="convnext",
    title="ConvNeXt-like blocks: depthwise kernel and expansion, BatchNorm and swish",
    settings=ConvNextParameters,
    implementation="hilnas_convnext:ConvNextSpace",
)
