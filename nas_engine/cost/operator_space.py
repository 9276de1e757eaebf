"""The operators of a search space as a space of their own: what a latency table has measured, one by one.

Each architecture is one operator as a network, so whatever measures candidates measures a table: filed under the same
latency keys, never twice, and resumable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nas_engine.cost.latency_table import TableOperator, operator_graphs
from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.environment import Dtype
from nas_engine.domain.errors import InvalidArchitectureError, InvalidSpaceError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, Gene, NamedArchitecture, SearchSpace, validate_genotype

OPERATORS_ID = "operators"


class OperatorSpace:
    """One gene: which operator of another space. Operators that are equal at this batch and data type stand once."""

    def __init__(self, base: SearchSpace, *, batch: int, dtype: Dtype) -> None:
        """Raises InvalidSpaceError: the space has no operators."""
        self.operators: tuple[TableOperator, ...] = operator_graphs(base, batch=batch, dtype=dtype)
        if not self.operators:
            raise InvalidSpaceError(f"space {base.space_id!r} has no operators to measure")
        self._base = base
        self._parameters: Mapping[str, JsonValue] = {
            "space": base.space_id,
            "parameters": dict(base.parameters),
            "batch": batch,
            "dtype": dtype.value,
        }

    @property
    def space_id(self) -> str:
        return OPERATORS_ID

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        """The space the operators are of, batch and data type."""
        return self._parameters

    @property
    def genes(self) -> tuple[Gene, ...]:
        """The one gene: its value is the operator's number."""
        options = tuple(f"{number}:{operator.label}" for number, operator in enumerate(self.operators))
        return (Gene("operator", options, "operator"),)

    @property
    def size(self) -> int:
        """Number of distinct operators."""
        return len(self.operators)

    @property
    def num_classes(self) -> int:
        """Of the space the operators are of."""
        return self._base.num_classes

    @property
    def input_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Of the space the operators are of; an operator's own input is in its graph."""
        return self._base.input_shapes

    @property
    def named(self) -> Mapping[str, NamedArchitecture]:
        """Published models by name: operators have none."""
        return {}

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        """Validate the genotype; nothing is changed, as its gene always has an effect."""
        return validate_genotype(self.genes, genotype)

    def decode(self, genotype: Sequence[int]) -> Architecture:
        """Build the architecture that is one operator."""
        (number,) = self.canonical(genotype)
        return Architecture.of(OPERATORS_ID, dict(self._parameters), number)

    def parse(self, document: JsonValue) -> Architecture:
        """Read a genotype, or the operator's number.

        Raises:
            InvalidArchitectureError: it is neither.
        """
        match document:
            case int() if not isinstance(document, bool):
                return self.decode((document,))
            case [int() as number]:
                return self.decode((number,))
            case _:
                raise InvalidArchitectureError(f"{document!r} is no operator: give its number, 0 to {self.size - 1}")

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        """Find the number of an operator, as a genotype of one gene."""
        return self.canonical((self._number(architecture),))

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph | None:
        """The operator as a network; both forms are one."""
        del form
        return self.operators[self._number(architecture)].graph

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        """Iterate over the graphs of all operators: each weight is in one of them."""
        return (operator.graph for operator in self.operators)

    def _number(self, architecture: Architecture) -> int:
        match architecture.choices_value():
            case int(number) if 0 <= number < self.size:
                return number
            case other:
                raise InvalidArchitectureError(f"{other!r} is no operator: there are {self.size}")
