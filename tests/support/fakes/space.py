"""A small search space with structural genes, and a cheap analytic world of results for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.search_space import Form, Gene, GeneKind, NamedArchitecture, validate_genotype
from nas_engine.search.algorithm import CheapCheck, Observation


class StagedSpace:
    """Stages of a depth gene (structural) and `max_depth` operator genes, zeroed beyond the depth."""

    def __init__(self, num_stages: int = 3, max_depth: int = 3, num_operators: int = 4) -> None:
        self._num_stages, self._max_depth, self._num_operators = num_stages, max_depth, num_operators
        depths = tuple(str(d + 1) for d in range(max_depth))
        operators = tuple(f"op{o}" for o in range(num_operators))
        genes: list[Gene] = []
        for stage in range(num_stages):
            genes.append(Gene(f"stage{stage}.depth", depths, f"stage{stage}", GeneKind.STRUCTURAL))
            genes.extend(Gene(f"stage{stage}.block{b}", operators, f"stage{stage}") for b in range(max_depth))
        self._genes = tuple(genes)

    @property
    def space_id(self) -> str:
        return "staged"

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        return {
            "num_stages": self._num_stages,
            "max_depth": self._max_depth,
            "num_operators": self._num_operators,
        }

    @property
    def genes(self) -> tuple[Gene, ...]:
        return self._genes

    @property
    def size(self) -> int:
        product = 1
        for gene in self._genes:
            product *= gene.num_choices
        return product

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
        values = list(validate_genotype(self._genes, genotype))
        width = self._max_depth + 1
        for stage in range(self._num_stages):
            depth = values[stage * width] + 1
            for block in range(depth, self._max_depth):
                values[stage * width + 1 + block] = 0
        return tuple(values)

    def decode(self, genotype: Sequence[int]) -> Architecture:
        return Architecture.of(self.space_id, dict(self.parameters), list(self.canonical(genotype)))

    def parse(self, document: JsonValue) -> Architecture:
        if not isinstance(document, Sequence) or isinstance(document, str):
            raise InvalidArchitectureError(f"{document!r} is not a genotype of space 'staged': give a list of integers")
        return self.decode([value if isinstance(value, int) else -1 for value in document])

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        choices = architecture.choices_value()
        assert isinstance(choices, Sequence)
        return self.canonical([int(str(value)) for value in choices])

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph | None:
        return None

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        return iter(())

    def macs(self, genotype: Genotype) -> float:
        """MACs of the analytic world: each active block costs more the higher its operator."""
        width = self._max_depth + 1
        total = 10.0
        for stage in range(self._num_stages):
            depth = genotype[stage * width] + 1
            total += sum(5.0 * (genotype[stage * width + 1 + block] + 1) for block in range(depth))
        return total

    def top1(self, genotype: Genotype) -> float:
        """Accuracy of the analytic world: saturating in MACs, with a wrinkle per operator."""
        wrinkle = sum(((7 * i + 13 * g) % 17) / 17 for i, g in enumerate(genotype)) / len(genotype)
        return 1.0 - 8.0 / (self.macs(genotype) + 8.0) - 0.05 * wrinkle


def tell_all(space: StagedSpace, batch: Sequence[Genotype]) -> list[Observation]:
    """Results of a batch in the analytic world: top-1 and MACs."""
    return [Observation(genotype=g, objectives={TOP1: space.top1(g), MACS: space.macs(g)}) for g in batch]


class MacsBelow:
    """A cheap filter: MACs at most `maximum`; counts how often it is asked."""

    def __init__(self, space: StagedSpace, maximum: float) -> None:
        self._space, self._maximum = space, maximum
        self.num_calls = 0

    def __call__(self, genotype: Genotype) -> CheapCheck:
        self.num_calls += 1
        macs = self._space.macs(genotype)
        excess = (macs - self._maximum) / self._maximum
        return CheapCheck({MACS: macs}, {"macs": excess} if excess > 0 else {})
