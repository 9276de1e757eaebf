"""A search space without layers, whose results a function of the genotype gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, Gene, NamedArchitecture, validate_genotype


@dataclass(frozen=True, eq=False)
class FunctionSpace:
    """Every genotype over the genes; satisfies `SearchSpace`.

    Attributes:
        space_id: the world's name.
        genes: the encoding.
        zeroed: rows of genotypes with the genes that have no effect at 0; None where every gene always has one.
    """

    space_id: str
    genes: tuple[Gene, ...]
    zeroed: Callable[[NDArray[np.int64]], NDArray[np.int64]] | None = None

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        return {}

    @property
    def size(self) -> int:
        return prod(gene.num_choices for gene in self.genes)

    @property
    def num_classes(self) -> int:
        return 10

    @property
    def input_shapes(self) -> tuple[tuple[int, int, int], ...]:
        return ((3, 32, 32),)

    @property
    def named(self) -> Mapping[str, NamedArchitecture]:
        return {}

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        valid = validate_genotype(self.genes, genotype)
        return valid if self.zeroed is None else tuple(self.zeroed(np.asarray([valid]))[0].tolist())

    def decode(self, genotype: Sequence[int]) -> Architecture:
        return Architecture.of(self.space_id, self.parameters, list(self.canonical(genotype)))

    def parse(self, document: JsonValue) -> Architecture:
        if isinstance(document, str | Mapping) or not isinstance(document, Sequence):
            raise InvalidArchitectureError(
                f"{document!r} is no architecture of {self.space_id}: give a list of integers"
            )
        return self.decode([value if isinstance(value, int) else -1 for value in document])

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        choices = architecture.choices_value()
        return None if not isinstance(choices, Sequence) else self.canonical([int(str(value)) for value in choices])

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph | None:
        return None

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        return iter(())
