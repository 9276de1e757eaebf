"""The protocol every search space implements. A new space is one file that satisfies it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidGenotypeError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph


class Form(Enum):
    """The two forms of an architecture's layer graph.

    SUPERNET has what training needs (ELS layers, BN without affine where the reference has none,
    dropout, routing sums); DEPLOYED is the stand-alone network a board runs.
    """

    SUPERNET = "supernet"
    DEPLOYED = "deployed"


class GeneKind(Enum):
    """STRUCTURAL genes change which other genes have an effect (depth, resolution); LEAF genes do not."""

    STRUCTURAL = "structural"
    LEAF = "leaf"


@dataclass(frozen=True, slots=True)
class Gene:
    """One position of a genotype.

    Attributes:
        name: unique in the space, e.g. ``stage2.block1``.
        options: label of each choice, in index order; a genotype holds indices into it.
        group: genes of one group travel together in stage-block crossover, e.g. ``stage2``.
        kind: structural or leaf.
    """

    name: str
    options: tuple[str, ...]
    group: str
    kind: GeneKind = GeneKind.LEAF

    @property
    def num_choices(self) -> int:
        """How many values the gene can take."""
        return len(self.options)


@dataclass(frozen=True, slots=True)
class NamedArchitecture:
    """A published model shipped with its space.

    Attributes:
        name: stable name, e.g. ``scarlet-a``.
        document: what `SearchSpace.parse` reads (a genotype, or the space's own form).
        source: paper or repository it is published in.
    """

    name: str
    document: JsonValue
    source: str


class SearchSpace(Protocol):
    """A set of architectures with an integer encoding. Values are immutable and thread-safe."""

    @property
    def space_id(self) -> str:
        """Id the space is registered under, e.g. ``spos``."""

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        """Every parameter with its value, defaults included: part of `arch_id`."""

    @property
    def genes(self) -> tuple[Gene, ...]:
        """The integer encoding, one gene per position, in genotype order."""

    @property
    def size(self) -> int:
        """Number of genotypes (architectures may be fewer where genes have no effect)."""

    @property
    def num_classes(self) -> int:
        """Number of outputs of the classifier."""

    @property
    def input_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Every (channels, height, width) an architecture of the space may take, smallest first."""

    @property
    def named(self) -> Mapping[str, NamedArchitecture]:
        """Published models by name; empty when the parameters are not the published ones."""

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        """Validate and zero the genes that have no effect.

        Raises:
            InvalidGenotypeError: wrong length, or a gene outside its choices (named in the message).
        """

    def decode(self, genotype: Sequence[int]) -> Architecture:
        """The architecture of a genotype; total over the space. Raises as `canonical`."""

    def parse(self, document: JsonValue) -> Architecture:
        """Read a published name, a genotype, or the space's own form.

        Raises:
            InvalidArchitectureError, InvalidGenotypeError: with what is wrong and what is allowed.
        """

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        """The canonical genotype of an architecture; None where it lies outside the space's choices."""

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph | None:
        """The layer graph in one form; None for a space that is only a table of results."""

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        """SUPERNET-form graphs that together hold every weight of the supernet (empty for a table)."""


def validate_genotype(genes: tuple[Gene, ...], genotype: Sequence[int]) -> Genotype:
    """`genotype` as a tuple of plain ints, each within its gene's choices.

    Raises:
        InvalidGenotypeError: names the first gene that is wrong and what it may be.
    """
    if len(genotype) != len(genes):
        raise InvalidGenotypeError(
            f"genotype has {len(genotype)} genes, this space has {len(genes)}: give one choice index per gene"
        )
    for position, (gene, value) in enumerate(zip(genes, genotype, strict=True)):
        is_int = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not is_int or not 0 <= value < gene.num_choices:
            allowed = ", ".join(f"{i}={label}" for i, label in enumerate(gene.options))
            raise InvalidGenotypeError(f"gene {position} ({gene.name}) is {value!r}: allowed are {allowed}")
    return tuple(int(value) for value in genotype)


def sample_genotype(genes: tuple[Gene, ...], rng: np.random.Generator) -> Genotype:
    """A uniform draw, gene by gene; not canonical."""
    return tuple(int(rng.integers(gene.num_choices)) for gene in genes)
