"""A table of results as a search space and as its evaluator: a published NAS benchmark, or a table of your own.

A table has one row per architecture: its genotype and the metrics that were found for it. There is no layer graph, so
`graph()` answers None and only what needs one (export, measurement, training) refuses. Genotypes without a row are
outside the table; `missing_rows` tells how many, and `nas_engine.search.cheap_filter.TableFilter` keeps a search among
the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError, InvalidGenotypeError, InvalidSpaceError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.metric import Metric
from nas_engine.domain.objective import Constraint
from nas_engine.domain.search_space import Form, Gene, NamedArchitecture, validate_genotype
from nas_engine.spaces.parameters import require_own
from nas_engine.spaces.tables.checks import (
    TableColumn,
    checked_genotypes,
    checked_runs,
    digest_of,
    mean_and_error,
    named_choices,
    own_genes,
    rows_by_genotype,
    shared_genes,
)

__all__ = ["SPACE_ID", "TableColumn", "TableSpace", "TableValue"]

SPACE_ID = "table"


@dataclass(frozen=True, slots=True)
class TableValue:
    """A looked-up metric: mean over the runs and its standard error (0 for a single run)."""

    value: float
    standard_error: float


class TableSpace:
    """Every genotype over the table's genes; rows that exist can be evaluated by looking them up."""

    def __init__(
        self,
        name: str,
        genotypes: NDArray[np.generic],
        columns: Sequence[TableColumn],
        *,
        options: Sequence[str] | None = None,
        stage_sizes: Sequence[int] | None = None,
        genes: Sequence[Gene] | None = None,
        num_classes: int = 10,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        sha256: str | None = None,
    ) -> None:
        """See class.

        Args:
            name: of the table, for people.
            genotypes: (num_rows, num_genes) choice indices.
            columns: the metrics, each with one entry per row.
            options: labels of the choices, shared by all genes; None numbers them.
            stage_sizes: genes per stage, for stage-block crossover; None makes one stage.
            genes: the genes themselves, instead of `options` and `stage_sizes`.
            num_classes: outputs of the networks behind the table.
            input_shape: (channels, height, width) they take.
            sha256: of the file the table came from, which then identifies the space; None takes that of the rows.

        Raises:
            InvalidSpaceError: shapes disagree, a genotype repeats, a value cannot be; the row is named.
        """
        rows = checked_genotypes(name, genotypes)
        self._runs = {column.metric: checked_runs(name, column, len(rows)) for column in columns}
        self._columns = {metric: mean_and_error(runs) for metric, runs in self._runs.items()}
        if not self._columns:
            raise InvalidSpaceError(f"table {name!r} has no metric column: give at least one")
        num_choices = [int(n) for n in rows.max(axis=0) + 1]
        if genes is not None:
            self._genes = own_genes(name, num_choices, genes)
        else:
            self._genes = shared_genes(name, named_choices(name, num_choices, options), options, stage_sizes)
        self._row_of = rows_by_genotype(name, rows)
        self._name, self._num_classes, self._input_shape = name, num_classes, input_shape
        self._digest = digest_of(rows, columns) if sha256 is None else sha256

    @property
    def space_id(self) -> str:
        return SPACE_ID

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        """The digest of the table's content: another table is another space."""
        return {"sha256": self._digest}

    @property
    def name(self) -> str:
        """Name of the table for people."""
        return self._name

    @property
    def genes(self) -> tuple[Gene, ...]:
        """One gene per column of the genotypes."""
        return self._genes

    @property
    def size(self) -> int:
        """Number of genotypes, with or without a row."""
        return prod(gene.num_choices for gene in self._genes)

    @property
    def missing_rows(self) -> int:
        """Genotypes of the space that the table does not hold."""
        return self.size - len(self._row_of)

    @property
    def rows(self) -> tuple[Genotype, ...]:
        """Every genotype of the table, in its order."""
        return tuple(self._row_of)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that can be looked up."""
        return tuple(self._columns)

    @property
    def num_classes(self) -> int:
        """Outputs of the networks behind the table."""
        return self._num_classes

    @property
    def input_shapes(self) -> tuple[tuple[int, int, int], ...]:
        """The one input shape."""
        return (self._input_shape,)

    @property
    def named(self) -> Mapping[str, NamedArchitecture]:
        """A table publishes no models by name."""
        return {}

    def canonical(self, genotype: Sequence[int]) -> Genotype:
        """Validated; every gene of a table counts."""
        return validate_genotype(self._genes, genotype)

    def decode(self, genotype: Sequence[int]) -> Architecture:
        """The architecture of a genotype."""
        return Architecture.of(SPACE_ID, self.parameters, list(self.canonical(genotype)))

    def parse(self, document: JsonValue) -> Architecture:
        """Read a genotype.

        Raises:
            InvalidArchitectureError, InvalidGenotypeError: not a genotype of this table.
        """
        if isinstance(document, (str, Mapping)) or not isinstance(document, Sequence):
            raise InvalidArchitectureError(
                f"{document!r} is no architecture of table {self._name!r}: give a list of {len(self._genes)} integers"
            )
        values = [value if isinstance(value, int) else -1 for value in document]
        return self.decode(values)

    def genotype_of(self, architecture: Architecture) -> Genotype | None:
        """The genotype of an architecture of this table."""
        require_own(self, architecture)
        choices = architecture.choices_value()
        if not isinstance(choices, Sequence) or isinstance(choices, str):
            return None
        try:
            return self.canonical([value if isinstance(value, int) else -1 for value in choices])
        except InvalidGenotypeError:
            return None

    def graph(self, architecture: Architecture, form: Form) -> LayerGraph | None:
        """None: a table has results, not layers."""
        del architecture, form
        return None

    def supernet_graphs(self) -> Iterator[LayerGraph]:
        """Nothing to train."""
        return iter(())

    def has_row(self, genotype: Sequence[int]) -> bool:
        """Whether the table holds this genotype."""
        return self.canonical(genotype) in self._row_of

    def lookup(self, genotype: Sequence[int]) -> Mapping[Metric, TableValue]:
        """Every metric of a row.

        Raises:
            InvalidArchitectureError: the table has no such row.
        """
        row = self._row(genotype)
        return {
            metric: TableValue(float(mean[row]), float(error[row])) for metric, (mean, error) in self._columns.items()
        }

    def runs(self, genotype: Sequence[int]) -> Mapping[Metric, tuple[float, ...]]:
        """Every run of a row, by metric. Raises as `lookup`."""
        row = self._row(genotype)
        return {metric: tuple(values[row].tolist()) for metric, values in self._runs.items()}

    def extremes(self, metric: Metric) -> tuple[float, float] | None:
        """Smallest and largest value of a column; None for a metric that the table does not hold."""
        if metric not in self._columns:
            return None
        mean, _ = self._columns[metric]
        return float(mean.min()), float(mean.max())

    def nearest_miss(self, constraints: Sequence[Constraint]) -> tuple[Genotype, Mapping[Metric, float]] | None:
        """The row nearest to bounds that no row meets together, with its values of these metrics.

        Returns:
            None where a row meets them, or the table lacks one of the columns.
        """
        if not constraints or any(one.metric not in self._columns for one in constraints):
            return None
        columns = [self._columns[one.metric][0].tolist() for one in constraints]
        distances = [
            sum(one.violation(value) for one, value in zip(constraints, values, strict=True))
            for values in zip(*columns, strict=True)
        ]
        nearest = distances.index(min(distances))
        if distances[nearest] == 0:
            return None
        return self.rows[nearest], {
            one.metric: float(column[nearest]) for one, column in zip(constraints, columns, strict=True)
        }

    @property
    def lacks_choice_0(self) -> bool:
        """Whether no gene of any row is 0: the choices were probably counted from 1."""
        return all(min(genotype) > 0 for genotype in self._row_of)

    def _row(self, genotype: Sequence[int]) -> int:
        canonical = self.canonical(genotype)
        row = self._row_of.get(canonical)
        if row is None:
            raise InvalidArchitectureError(
                f"table {self._name!r} has no row for {list(canonical)}: it holds {len(self._row_of)} of {self.size} "
                "genotypes; keep the search among them with TableFilter"
            )
        return row
