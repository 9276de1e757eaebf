"""What the spaces share whose genes all have an effect and whose images have one size: SPOS and SCARLET."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Generic, Protocol, TypeVar

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.search_space import Gene, validate_genotype
from nas_engine.spaces.parameters import document_of


class ImageParameters(Protocol):
    """The parameters that are read here."""

    @property
    def num_classes(self) -> int: ...

    @property
    def input_size(self) -> int: ...

    @property
    def input_channels(self) -> int: ...


P = TypeVar("P", bound=ImageParameters)


class ChoiceSpace(ABC, Generic[P]):
    """One choice per block, each independent of the others; the rest of `SearchSpace` is each space's own.

    Args:
        parameters: of the space; kept as ``self._p``.
    """

    def __init__(self, parameters: P) -> None:
        self._p = parameters

    @property
    @abstractmethod
    def genes(self) -> tuple[Gene, ...]:
        """One gene per choice block, in depth order."""

    @cached_property
    def parameters(self) -> Mapping[str, JsonValue]:
        """Every parameter with its value."""
        return document_of(self._p)

    @property
    def size(self) -> int:
        """Product of the numbers of choices."""
        return prod(gene.num_choices for gene in self.genes)

    @property
    def num_classes(self) -> int:
        """Outputs of the classifier."""
        return self._p.num_classes

    @property
    def input_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """The one input shape of the space."""
        return ((self._p.input_channels, self._p.input_size, self._p.input_size),)

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        """Validated genotype; every gene has an effect."""
        return validate_genotype(self.genes, genotype)
