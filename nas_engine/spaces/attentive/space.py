"""The AttentiveNAS search space, also AlphaNet's: elastic width, depth, kernel, expansion and resolution.

Sources: Wang et al., AttentiveNAS (CVPR 2021, arXiv 2011.09011) and AlphaNet (ICML 2021, arXiv
2102.07954), Table 7 of its supplementary material, with the published configuration's {112, 120, 128}
for MBConv-5. All choices are stage-wise: 31 genes, those with one option included. Sub-networks share
weights: the first channels of each tensor, the centre of each depthwise kernel, the first blocks of
each stage. docs/explanation/attentivenas.md says what is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import cast

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, Gene, GeneKind, NamedArchitecture, validate_genotype
from nas_engine.spaces.attentive.graph import AttentiveWriter, SubnetShape
from nas_engine.spaces.attentive.parameters import AttentiveParameters
from nas_engine.spaces.attentive.published import PUBLISHED
from nas_engine.spaces.documents import resolve_name
from nas_engine.spaces.parameters import document_of, require_own

SPACE_ID = "attentivenas"
FIELDS = ("resolution", "width", "depth", "kernel_size", "expand_ratio")


class AttentiveSpace:
    """`SearchSpace` of AttentiveNAS; see the module docstring."""

    def __init__(self, parameters: AttentiveParameters | None = None) -> None:
        self._p = parameters or AttentiveParameters()

    @property
    def space_id(self) -> str:
        return SPACE_ID

    @cached_property
    def parameters(self) -> Mapping[str, JsonValue]:
        """Every parameter with its value."""
        return document_of(self._p)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Resolution, then widths, depths, kernels and expansions in stage order."""
        structural = {"resolution", "depth"}
        return tuple(
            Gene(
                place if field == "resolution" else f"{place}.{field}",
                tuple(f"{field[0]}{value}" for value in options),
                place,
                GeneKind.STRUCTURAL if field in structural else GeneKind.LEAF,
            )
            for field, place, options in self._choices
        )

    @cached_property
    def size(self) -> int:
        """Product of the numbers of options; 440,301,256,704 for the published space."""
        return prod(gene.num_choices for gene in self.genes)

    @property
    def num_classes(self) -> int:
        """Outputs of the classifier."""
        return self._p.num_classes

    @property
    def input_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """One shape per resolution."""
        return tuple((self._p.input_channels, size, size) for size in self._p.resolutions)

    @cached_property
    def named(self) -> Mapping[str, NamedArchitecture]:
        """Published models, where only the number of classes differs from the published space."""
        published = replace(AttentiveParameters(), num_classes=self._p.num_classes)
        return {model.name: model for model in PUBLISHED} if self._p == published else {}

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        """Validated genotype; choices are stage-wise and every stage has a block, so every gene has an effect."""
        return validate_genotype(self.genes, genotype)

    def decode(self, genotype: Sequence[int]) -> Architecture:
        """The architecture of a genotype; its choices are in the space's own form."""
        values: dict[str, list[JsonValue]] = {field: [] for field in FIELDS}
        for (field, _, options), choice in zip(self._choices, self.canonical(genotype), strict=True):
            values[field].append(options[choice])
        choices: dict[str, JsonValue] = {**values, "resolution": values["resolution"][0]}
        return Architecture.of(SPACE_ID, self.parameters, choices)

    def parse(self, document: JsonValue) -> Architecture:
        """Read a published name, a genotype, or an object with the five fields of `FIELDS`."""
        document = resolve_name(SPACE_ID, self.named, document)
        if isinstance(document, Mapping):
            return self.decode(self._genotype_of(document))
        if not isinstance(document, Sequence):
            raise InvalidArchitectureError(
                f"cannot read {document!r}: give a published name, a list of choice indices,"
                f" or an object with {', '.join(FIELDS)}"
            )
        return self.decode(cast(Sequence[int], document))

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        """The genotype; every architecture of this space has one."""
        require_own(self, architecture)
        return self._genotype_of(cast(Mapping[str, JsonValue], architecture.choices_value()))

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph:
        """The layer graph in one form."""
        require_own(self, architecture)
        return self._write(cast(Mapping[str, JsonValue], architecture.choices_value()), form)

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        """The largest subnet; then one per shortcut convolution that its equal widths leave unused."""
        largest = [gene.num_choices - 1 for gene in self.genes]
        yield self._write_genotype(largest)
        for stage in range(len(self._p.stage_channels)):
            changed = self._mismatching_widths(stage)
            if changed is not None:
                position, choice = changed
                yield self._write_genotype([*largest[:position], choice, *largest[position + 1 :]])

    def _mismatching_widths(self, stage: int) -> tuple[int, int] | None:
        """A (gene, choice) that makes the first block of a stage change its width, where the largest does not."""
        before, own = self._p.widths[stage], self._p.widths[stage + 1]
        if before[-1] != own[-1]:
            return None
        if len(before) > 1:
            return 1 + stage, 0
        return (2 + stage, 0) if len(own) > 1 else None

    @cached_property
    def _choices(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """(field, place, options) per gene."""
        p = self._p
        stages = [f"mb{index + 1}" for index in range(len(p.stage_channels))]
        return (
            ("resolution", "resolution", p.resolutions),
            *(("width", place, options) for place, options in zip(["stem", *stages, "head"], p.widths, strict=True)),
            *(("depth", place, options) for place, options in zip(stages, p.stage_depths, strict=True)),
            *(("kernel_size", place, options) for place, options in zip(stages, p.stage_kernels, strict=True)),
            *(("expand_ratio", place, options) for place, options in zip(stages, p.stage_expand_ratios, strict=True)),
        )

    def _genotype_of(self, document: Mapping[str, JsonValue]) -> Genotype:
        values = [value for field in FIELDS for value in self._values(document, field)]
        genotype: list[int] = []
        for position, (value, gene, (_, _, options)) in enumerate(zip(values, self.genes, self._choices, strict=True)):
            if isinstance(value, bool) or value not in options:
                allowed = ", ".join(str(option) for option in options)
                raise InvalidArchitectureError(f"gene {position} ({gene.name}) is {value!r}: allowed are {allowed}")
            genotype.append(options.index(cast(int, value)))
        return tuple(genotype)

    def _values(self, document: Mapping[str, JsonValue], field: str) -> Sequence[JsonValue]:
        """The values of one field, in gene order."""
        unknown = sorted(set(document) - set(FIELDS))
        if unknown:
            raise InvalidArchitectureError(f"unknown field {unknown[0]!r}: an architecture has {', '.join(FIELDS)}")
        if field not in document:
            raise InvalidArchitectureError(f"field {field!r} is missing: an architecture has {', '.join(FIELDS)}")
        value = document[field]
        if field == "resolution":
            return [value]
        length = sum(own == field for own, _, _ in self._choices)
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != length:
            raise InvalidArchitectureError(f"field {field!r} is {value!r}: it is a list of {length} integers")
        return value

    def _write_genotype(self, genotype: Sequence[int]) -> LayerGraph:
        architecture = self.decode(genotype)
        return self.graph(architecture, Form.SUPERNET)

    def _write(self, choices: Mapping[str, JsonValue], form: Form) -> LayerGraph:
        numbers = {field: cast(list[int], choices[field]) for field in FIELDS if field != "resolution"}
        subnet = SubnetShape(
            resolution=cast(int, choices["resolution"]),
            width=tuple(numbers["width"]),
            depth=tuple(numbers["depth"]),
            kernel_size=tuple(numbers["kernel_size"]),
            expand_ratio=tuple(numbers["expand_ratio"]),
        )
        return AttentiveWriter(self._p, form).write(subnet)
