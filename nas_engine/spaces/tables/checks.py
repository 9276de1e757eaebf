"""What a table of results must hold to be a search space; what it does not is refused with its row, from 1."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import InvalidSpaceError
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import declaration_of
from nas_engine.domain.search_space import Gene

MAX_ROWS = 500_000
MAX_GENES = 256
MAX_CHOICES = 1024  # of one gene
MAX_COUNT = 2**53  # of MACs, params and bytes: exact as a double


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


def checked_genotypes(name: str, genotypes: NDArray[np.generic]) -> NDArray[np.int64]:
    """Genotypes as integers within bounds. Raises InvalidSpaceError."""
    if genotypes.ndim != 2 or 0 in genotypes.shape or not np.issubdtype(genotypes.dtype, np.integer):
        raise InvalidSpaceError(
            f"table {name!r}: genotypes are {genotypes.dtype} of shape {genotypes.shape}; give integers (rows, genes)"
        )
    rows = genotypes.astype(np.int64)
    if len(rows) > MAX_ROWS or rows.shape[1] > MAX_GENES:
        raise InvalidSpaceError(
            f"table {name!r} has {len(rows):,} rows of {rows.shape[1]} genes: {MAX_ROWS:,} of {MAX_GENES} are allowed"
        )
    if (rows < 0).any():
        raise InvalidSpaceError(f"table {name!r}, row {_first(rows < 0)}: a choice index is negative")
    if (rows >= MAX_CHOICES).any():
        row = _first(rows >= MAX_CHOICES)
        raise InvalidSpaceError(f"table {name!r}, row {row}: a choice index is above {MAX_CHOICES - 1}")
    return rows


def rows_by_genotype(name: str, rows: NDArray[np.int64]) -> dict[Genotype, int]:
    """Row number of every genotype. Raises InvalidSpaceError for one that is there twice."""
    rows_by_genotype: dict[Genotype, int] = {}
    for row, genes in enumerate(rows.tolist()):
        first = rows_by_genotype.setdefault(tuple(genes), row)
        if first != row:
            raise InvalidSpaceError(
                f"table {name!r}, row {row + 1}: genotype {genes} is that of row {first + 1} already"
            )
    return rows_by_genotype


def checked_runs(name: str, column: TableColumn, num_rows: int) -> NDArray[np.float64]:
    """(rows, runs), scaled to the metric's unit. Raises InvalidSpaceError."""
    values = np.asarray(column.values, dtype=np.float64) * column.scale
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != num_rows or values.shape[1] == 0:
        raise InvalidSpaceError(
            f"table {name!r}: column {column.metric.name} has shape {column.values.shape} for {num_rows} rows"
        )
    if not np.isfinite(values).all():
        row = _first(~np.isfinite(values))
        raise InvalidSpaceError(f"table {name!r}, row {row}: {column.metric.name} is not finite")
    _check_range(name, column.metric, values)
    return values


def mean_and_error(runs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and its standard error per row; the error of a single run is 0."""
    num_runs = runs.shape[1]
    error = runs.std(axis=1, ddof=1) / np.sqrt(num_runs) if num_runs > 1 else np.zeros(len(runs))
    return runs.mean(axis=1), error


def _check_range(name: str, metric: Metric, values: NDArray[np.float64]) -> None:
    """Refuse what no network can have: a share above 1 (percent?), a latency of 0, half a MAC."""
    declaration = declaration_of(metric)
    if declaration.is_cheap:
        wrong = (values < 0) | (values != np.round(values)) | (values > MAX_COUNT)
        allowed = f"a whole number from 0 to {MAX_COUNT:,}"
    elif math.isfinite(declaration.maximum):
        wrong = (values < declaration.minimum) | (values > declaration.maximum)
        allowed = f"a {metric.unit} from {declaration.minimum:g} to {declaration.maximum:g}"
    else:
        wrong, allowed = values <= declaration.minimum, f"above {declaration.minimum:g}"
    if wrong.any():
        row, run = (int(place) for place in np.argwhere(wrong)[0])
        raise InvalidSpaceError(f"table {name!r}, row {row + 1}: {metric.name} is {values[row, run]:g}, not {allowed}")


def named_choices(name: str, num_choices: Sequence[int], options: Sequence[str] | None) -> list[int]:
    """Choices per gene: what is used, or what is named."""
    if options is None:
        return list(num_choices)
    if max(num_choices) > len(options):
        raise InvalidSpaceError(
            f"table {name!r} uses choice {max(num_choices) - 1} but names only {len(options)} options"
        )
    return [len(options)] * len(num_choices)


def own_genes(name: str, num_choices: Sequence[int], genes: Sequence[Gene]) -> tuple[Gene, ...]:
    """Genes that the table describes itself. Raises InvalidSpaceError."""
    if len(genes) != len(num_choices):
        raise InvalidSpaceError(f"table {name!r} describes {len(genes)} genes, its genotypes have {len(num_choices)}")
    if len({gene.name for gene in genes}) != len(genes):
        raise InvalidSpaceError(f"table {name!r} names a gene twice")
    for gene, used in zip(genes, num_choices, strict=True):
        if used > gene.num_choices:
            raise InvalidSpaceError(
                f"table {name!r} uses choice {used - 1} of gene {gene.name!r}, which has {gene.num_choices} options"
            )
    return tuple(genes)


def shared_genes(
    name: str, num_choices: Sequence[int], options: Sequence[str] | None, stage_sizes: Sequence[int] | None
) -> tuple[Gene, ...]:
    """Genes that all have the same options, in stages. Raises InvalidSpaceError."""
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


def _first(wrong: NDArray[np.bool_]) -> int:
    """Number of the first row that is wrong somewhere, from 1."""
    return int(np.argwhere(wrong)[0, 0]) + 1


def digest_of(rows: NDArray[np.int64], columns: Sequence[TableColumn]) -> str:
    """sha256 of what the table holds."""
    content = hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes())
    for column in sorted(columns, key=lambda c: c.metric.name):
        content.update(column.metric.name.encode())
        content.update(np.ascontiguousarray(column.values * column.scale, dtype="<f8").tobytes())
    return content.hexdigest()
