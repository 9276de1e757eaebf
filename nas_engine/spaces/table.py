"""A table of results as a search space and as its evaluator: a published NAS benchmark, or a table of your own.

A table has one row per architecture: its genotype and the metrics that were found for it. There is no layer graph, so
`graph()` answers None and only what needs one (export, measurement, training) refuses. Genotypes without a row are
outside the table; `missing_rows` tells how many, and a cheap filter on `has_row` keeps a search among the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.architecture import Architecture, Genotype
from nas_engine.domain.errors import InvalidArchitectureError, InvalidGenotypeError, InvalidSpaceError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.objective import Metric
from nas_engine.domain.search_space import Form, Gene, NamedArchitecture, validate_genotype
from nas_engine.spaces.parameters import require_own

SPACE_ID = "table"


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One metric of a table.

    Attributes:
        metric: what the column holds.
        values: one value per row; several per row (repeated runs) are averaged and give a standard error.
        scale: factor from the column's unit to the metric's (0.01 for an accuracy in percent).
    """

    metric: Metric
    values: NDArray[np.float64]
    scale: float = 1.0


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
        num_classes: int = 10,
        input_shape: tuple[int, int, int] = (3, 32, 32),
    ) -> None:
        """See class.

        Args:
            name: of the table; with the content it identifies the space.
            genotypes: (num_rows, num_genes) choice indices.
            columns: the metrics, each with one entry per row.
            options: labels of the choices, shared by all genes; None numbers them.
            stage_sizes: genes per stage, for stage-block crossover; None makes one stage.
            num_classes: outputs of the networks behind the table.
            input_shape: (channels, height, width) they take.

        Raises:
            InvalidSpaceError: shapes disagree, a genotype repeats, a value is not finite; the row is named.
        """
        rows = _checked_genotypes(name, genotypes)
        self._columns = {column.metric: _checked_column(name, column, len(rows)) for column in columns}
        if not self._columns:
            raise InvalidSpaceError(f"table {name!r} has no metric column: give at least one")
        num_choices = [int(n) for n in rows.max(axis=0) + 1]
        if options is not None:
            if max(num_choices) > len(options):
                raise InvalidSpaceError(
                    f"table {name!r} uses choice {max(num_choices) - 1} but names only {len(options)} options"
                )
            num_choices = [len(options)] * len(num_choices)
        self._genes = _genes(name, num_choices, options, stage_sizes)
        self._row_of: dict[Genotype, int] = {tuple(int(g) for g in row): i for i, row in enumerate(rows)}
        if len(self._row_of) != len(rows):
            raise InvalidSpaceError(f"table {name!r} has {len(rows)} rows but {len(self._row_of)} distinct genotypes")
        self._name, self._num_classes, self._input_shape = name, num_classes, input_shape
        self._digest = _digest(rows, columns)

    @property
    def space_id(self) -> str:
        """``table``."""
        return SPACE_ID

    @property
    def parameters(self) -> Mapping[str, JsonValue]:
        """The table's name and the digest of its content: another table is another space."""
        return {"name": self._name, "sha256": self._digest, "num_classes": self._num_classes}

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
        canonical = self.canonical(genotype)
        row = self._row_of.get(canonical)
        if row is None:
            raise InvalidArchitectureError(
                f"table {self._name!r} has no row for {list(canonical)}: it holds {len(self._row_of)} of {self.size} "
                "genotypes; keep the search among them with a cheap filter on has_row"
            )
        return {
            metric: TableValue(float(mean[row]), float(error[row])) for metric, (mean, error) in self._columns.items()
        }


def _checked_genotypes(name: str, genotypes: NDArray[np.generic]) -> NDArray[np.int64]:
    if genotypes.ndim != 2 or 0 in genotypes.shape or not np.issubdtype(genotypes.dtype, np.integer):
        raise InvalidSpaceError(
            f"table {name!r}: genotypes are {genotypes.dtype} of shape {genotypes.shape}; give integers (rows, genes)"
        )
    rows = genotypes.astype(np.int64)
    if (rows < 0).any():
        raise InvalidSpaceError(f"table {name!r}, row {int(np.argwhere(rows < 0)[0, 0])}: a choice index is negative")
    return rows


def _checked_column(name: str, column: TableColumn, num_rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = np.asarray(column.values, dtype=np.float64) * column.scale
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != num_rows or values.shape[1] == 0:
        raise InvalidSpaceError(
            f"table {name!r}: column {column.metric.label} has shape {column.values.shape} for {num_rows} rows"
        )
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0, 0])
        raise InvalidSpaceError(f"table {name!r}, row {row}: {column.metric.label} is not finite")
    num_runs = values.shape[1]
    error = values.std(axis=1, ddof=1) / np.sqrt(num_runs) if num_runs > 1 else np.zeros(num_rows)
    return values.mean(axis=1), error


def _genes(
    name: str, num_choices: Sequence[int], options: Sequence[str] | None, stage_sizes: Sequence[int] | None
) -> tuple[Gene, ...]:
    sizes = list(stage_sizes) if stage_sizes is not None else [len(num_choices)]
    if sum(sizes) != len(num_choices) or min(sizes) < 1:
        raise InvalidSpaceError(f"table {name!r}: stages of {sizes} genes do not add up to {len(num_choices)} genes")
    stages = [stage for stage, size in enumerate(sizes) for _ in range(size)]
    return tuple(
        Gene(
            name=f"gene{position}",
            options=tuple(options) if options is not None else tuple(str(o) for o in range(count)),
            group=f"stage{stage}",
        )
        for position, (count, stage) in enumerate(zip(num_choices, stages, strict=True))
    )


def _digest(rows: NDArray[np.int64], columns: Sequence[TableColumn]) -> str:
    content = hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes())
    for column in sorted(columns, key=lambda c: c.metric.label):
        content.update(column.metric.label.encode())
        content.update(np.ascontiguousarray(column.values * column.scale, dtype="<f8").tobytes())
    return content.hexdigest()
