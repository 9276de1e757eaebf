"""A latency table's sums over the operators of networks, from genotypes alone: no layer graph is made.

Plain arrays, evaluated with numpy, that a worker makes of a space and a table (`sums_fit`). Which of the three
forms a space has follows from what its operators depend on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nas_engine.cost.prediction.encodings import Floats, Genotypes
from nas_engine.cost.prediction.served_predictor import ServedPredictor

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class ChoiceSums:
    """Sums of a space where each operator depends on one gene: what the choices add, exactly.

    Attributes:
        fixed_us: sum of the network that holds the first choice everywhere.
        added_us: per gene and choice, in their order, what the choice adds to that; NaN where the table lacks an
            operator of it.
        offsets: place of each gene's first choice.
    """

    kind: ClassVar[str] = "choices"
    fixed_us: float
    added_us: Floats
    offsets: Ints

    def of(self, rows: Genotypes) -> Floats:
        """Sums in microseconds of valid genotypes; NaN where the table lacks an operator."""
        return np.asarray(self.fixed_us + self.added_us[rows + self.offsets].sum(axis=1))


@dataclass(frozen=True, eq=False, kw_only=True)
class RoutedSums:
    """Sums of a DenseNAS space along the path that a genotype takes, exactly as `RoutingCosts.path_cost`, which
    reports compare with networks.

    B blocks without the ending one, whose index is B; K edges of a block at most, H head operators, L layers at most, O
    stack operators. What a block does not have is 0 and is never read.

    Attributes:
        fixed_us: what every network has.
        gene_of: place of each block's first gene, its successor; its head and its layers follow. (B,)
        targets: block that each edge leads to. (B, K)
        head_us: cost of the head operators of each edge, that of the ending convolution for all alike. (B, K, H)
        num_layers: of each block, none of the ending one. (B + 1,)
        layer_us: cost of their stack operators. (B + 1, L, O)
    """

    kind: ClassVar[str] = "paths"
    fixed_us: float
    gene_of: Ints
    targets: Ints
    head_us: Floats
    num_layers: Ints
    layer_us: Floats

    def of(self, rows: Genotypes) -> Floats:
        """Sums in microseconds of valid genotypes."""
        end = len(self.gene_of)
        gene_of = np.append(self.gene_of, -1)  # of the ending block, which has none: what is read there is not used
        total, block = np.full(len(rows), self.fixed_us), np.zeros(len(rows), dtype=np.int64)
        going = np.arange(len(rows))
        while len(going):
            source, genes = block[going], rows[going]
            here = np.arange(len(going))
            edge = genes[here, gene_of[source]]
            target = self.targets[source, edge]
            head = np.where(target == end, 0, genes[here, gene_of[target] + 1])
            total[going] += self.head_us[source, edge, head]
            for layer in range(self.layer_us.shape[1]):
                has = self.num_layers[target] > layer
                choice = np.where(has, genes[here, np.where(has, gene_of[target] + 2 + layer, 0)], 0)
                total[going] += np.where(has, self.layer_us[target, layer, choice], 0.0)
            block[going] = target
            going = going[target != end]
        return total


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedSums:
    """Sums of any other space: a predictor fitted to those of sampled networks, so not exact.

    Attributes:
        predictor: bytes of the file of a `ServedPredictor`.
    """

    kind: ClassVar[str] = "fitted"
    predictor: NDArray[np.uint8]

    def of(self, rows: Genotypes) -> Floats:
        """Sums in microseconds of valid genotypes, about. Raises EngineError where the file is damaged."""
        return self._served.estimate(rows.tolist()).values

    @cached_property
    def _served(self) -> ServedPredictor:
        return ServedPredictor.from_bytes(self.predictor.tobytes())


TableSums = ChoiceSums | RoutedSums | FittedSums
_FORMS: Mapping[str, type[TableSums]] = {one.kind: one for one in (ChoiceSums, RoutedSums, FittedSums)}


def arrays_of(sums: TableSums) -> Mapping[str, NDArray[Any]]:
    """Everything of it as arrays, by name."""
    return {one.name: np.asarray(getattr(sums, one.name)) for one in fields(sums)}


def sums_of(kind: str, arrays: Mapping[str, NDArray[Any]]) -> TableSums:
    """Inverse of `arrays_of`. Raises KeyError or TypeError where something is missing."""
    values: dict[str, Any] = {name: array if array.ndim else array.item() for name, array in arrays.items()}
    return _FORMS[kind](**values)
