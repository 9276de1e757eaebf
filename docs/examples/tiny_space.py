"""A complete search space in one file: up to three blocks, each a plain or a depthwise-separable convolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod, sqrt
from typing import cast

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import ZEROS, ActivationKind, Init, InitKind, LayerGraph
from nas_engine.domain.search_space import Form, Gene, GeneKind, NamedArchitecture, validate_genotype
from nas_engine.spaces.documents import resolve_name
from nas_engine.spaces.parameters import check, document_of, require_own

OPERATORS = ("conv3", "conv5", "separable3", "separable5")
MAX_DEPTH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyParameters:
    """What a user may change; every value is part of `arch_id`."""

    num_classes: int = 10
    input_size: int = 32
    channels: int = 16

    def __post_init__(self) -> None:
        check(self.num_classes >= 2, "num_classes", self.num_classes, "2 or more")
        check(self.input_size >= 2**MAX_DEPTH, "input_size", self.input_size, f"{2**MAX_DEPTH} or more")
        check(self.channels >= 1, "channels", self.channels, "1 or more")


class TinySpace:
    """`SearchSpace`: a structural gene for the depth, one operator gene per possible block."""

    space_id = "tiny"

    def __init__(self, parameters: TinyParameters | None = None) -> None:
        self._p = parameters or TinyParameters()

    @cached_property
    def parameters(self) -> Mapping[str, JsonValue]:
        """Every parameter with its value."""
        return document_of(self._p)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The encoding: what an algorithm sees."""
        depth = Gene("depth", tuple(f"{d + 1} blocks" for d in range(MAX_DEPTH)), "depth", GeneKind.STRUCTURAL)
        return (depth, *(Gene(f"block{i}", OPERATORS, "blocks") for i in range(MAX_DEPTH)))

    @property
    def size(self) -> int:
        """Number of genotypes."""
        return prod(gene.num_choices for gene in self.genes)

    @property
    def num_classes(self) -> int:
        """Outputs of the classifier."""
        return self._p.num_classes

    @property
    def input_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """The one input shape."""
        return ((3, self._p.input_size, self._p.input_size),)

    @cached_property
    def named(self) -> Mapping[str, NamedArchitecture]:
        """Models worth a name."""
        return {"tiny-baseline": NamedArchitecture("tiny-baseline", [2, 0, 0, 0], "docs/examples")}

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        """Blocks beyond the depth have no effect: their genes are zeroed, so equal networks are equal values."""
        depth, *blocks = validate_genotype(self.genes, genotype)
        return (depth, *(choice if i <= depth else 0 for i, choice in enumerate(blocks)))

    def decode(self, genotype: Sequence[int]) -> Architecture:
        """The architecture of a genotype, in the space's own words."""
        depth, *blocks = self.canonical(genotype)
        return Architecture.of(self.space_id, self.parameters, [OPERATORS[choice] for choice in blocks[: depth + 1]])

    def parse(self, document: JsonValue) -> Architecture:
        """Read a published name, a genotype, or a list of operators."""
        document = resolve_name(self.space_id, self.named, document)
        if not isinstance(document, Sequence) or isinstance(document, str):
            raise InvalidArchitectureError(f"cannot read {document!r}: give a name, a genotype, or a list of operators")
        if any(isinstance(item, str) for item in document):
            return self.decode(self._genotype_of(document))
        return self.decode(cast(Sequence[int], document))

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        """The canonical genotype."""
        require_own(self, architecture)
        return self._genotype_of(cast(Sequence[JsonValue], architecture.choices_value()))

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph:
        """The layer graph: everything else (costs, pictures, ONNX, training) is a view of it."""
        require_own(self, architecture)
        return self._write(cast(Sequence[str], architecture.choices_value()), form)

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        """Together they hold every weight that training may touch."""
        for operator in OPERATORS:
            yield self._write([operator] * MAX_DEPTH, Form.SUPERNET)

    def _genotype_of(self, operators: Sequence[JsonValue]) -> Genotype:
        if not 1 <= len(operators) <= MAX_DEPTH:
            raise InvalidArchitectureError(f"{len(operators)} blocks: give 1 to {MAX_DEPTH}")
        for position, operator in enumerate(operators):
            if operator not in OPERATORS:
                raise InvalidArchitectureError(f"block{position} is {operator!r}: allowed are {', '.join(OPERATORS)}")
        choices = [OPERATORS.index(str(operator)) for operator in operators]
        return (len(choices) - 1, *choices, *[0] * (MAX_DEPTH - len(choices)))

    def _write(self, operators: Sequence[str], form: Form) -> LayerGraph:
        g = GraphBuilder(self.input_shapes[0])
        x = g.input
        for position, operator in enumerate(operators):
            with g.labelled(f"block{position}", operator):
                x = self._block(g, x, f"block{position}.{operator}", operator)
        with g.labelled("head", "linear"):
            x = g.flatten(g.global_avg_pool(x, "head.pool"), "head.flatten")
            if form is Form.SUPERNET:
                x = g.dropout(x, "head.dropout", 0.1)  # training only: a board never runs it
            x = g.linear(x, "head.linear", out=self._p.num_classes, init=_init(self._p.channels), bias=ZEROS)
        return g.build(x)

    def _block(self, g: GraphBuilder, x: int, name: str, operator: str) -> int:
        """Halves the image; names stay the same in every architecture, because weights are shared by name."""
        kernel, width, groups = int(operator[-1]), self._p.channels, g.channels(x)
        if operator.startswith("separable"):
            x = g.conv(
                x, f"{name}.depthwise", out=groups, kernel=kernel, stride=2, groups=groups, init=_init(kernel**2)
            )
            x = g.conv(x, f"{name}.point", out=width, kernel=1, init=_init(groups))
        else:
            x = g.conv(x, f"{name}.conv", out=width, kernel=kernel, stride=2, init=_init(groups * kernel**2))
        x = g.batch_norm(x, f"{name}.bn", affine=True)
        return g.activation(x, f"{name}.relu", ActivationKind.RELU)


def _init(fan_in: int) -> Init:
    return Init(InitKind.NORMAL, sqrt(2.0 / fan_in))
