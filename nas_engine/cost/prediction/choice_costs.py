"""What each gene's choice adds to a network's operator totals, known from layer graphs before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.json_value import canonical_json
from nas_engine.domain.search_space import Form, Gene, SearchSpace, sample_genotype
from nas_engine.domain.views.operator_totals import operator_totals

MAX_GRAPHS = 600
"""Layer graphs from which the costs of a space's choices are found; a graph takes about a millisecond."""

MAX_SPACES = 16
"""Spaces whose costs a process keeps."""

LIKENESS_LENGTH = 0.5
"""Root mean square difference of two choices' costs over which their effects become independent (`likeness`)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ChoiceCosts:
    """Costs of every gene's choices.

    Attributes:
        table: a row per gene and choice, in their order, and a column per total: what the choice adds. Rows of one
            gene may all be off by the same.
    """

    table: Floats

    def totals(self, genes: tuple[Gene, ...]) -> Floats:
        """The table, centred gene by gene; every column has variance 1 over the networks of the space."""
        by_gene = _split(self.table, genes)
        centred = np.vstack([rows - rows.mean(axis=0) for rows in by_gene])
        variance = sum((rows.var(axis=0) for rows in by_gene), start=np.zeros(self.table.shape[1]))
        return np.asarray(centred / np.sqrt(variance))

    def likeness(self, genes: tuple[Gene, ...]) -> Floats:
        """How alike any two choices are, 0 to 1, by what they cost beyond the cheapest of their gene."""
        beyond = np.vstack([rows - rows.min(axis=0) for rows in _split(self.table, genes)])
        # Costs of layers span orders of magnitude.
        usual = [np.median(column[column > 1e-9 * column.max()]) for column in beyond.T]
        places = np.log1p(4.0 * beyond / np.asarray(usual))
        places /= places.std(axis=0)
        squares = np.mean((places[:, None, :] - places[None, :, :]) ** 2, axis=2)
        return np.asarray(np.exp(-0.5 * squares / LIKENESS_LENGTH**2))


def choice_costs(space: SearchSpace) -> ChoiceCosts | None:
    """Costs of a space's choices; None where it has no layer graphs or where all choices cost the same.

    They are the least-squares effects over networks drawn at random: exact where totals are sums over genes, and the
    mean over the other genes where they are not (widths, depths). Found once per process.

    Raises:
        EngineError: as making a graph does.
    """
    key = space.space_id, canonical_json(dict(space.parameters)), space.genes
    if key not in _KNOWN:
        while len(_KNOWN) >= MAX_SPACES:
            _KNOWN.pop(next(iter(_KNOWN)))
        _KNOWN[key] = _found(space)
    return _KNOWN[key]


_KNOWN: dict[tuple[str, str, tuple[Gene, ...]], ChoiceCosts | None] = {}


def _found(space: SearchSpace) -> ChoiceCosts | None:
    genes = space.genes
    offsets = np.cumsum([0, *(gene.num_choices for gene in genes)])
    num_graphs = min(2 * int(offsets[-1]) + 20, MAX_GRAPHS)
    rng = np.random.default_rng(0)
    one_hot, totals = np.zeros((num_graphs, int(offsets[-1]) + 1)), []
    one_hot[:, -1] = 1.0
    for row in one_hot:
        genotype = sample_genotype(genes, rng)
        graph = space.graph(space.decode(genotype), Form.DEPLOYED)
        if graph is None:
            return None
        row[np.asarray(genotype) + offsets[:-1]] = 1.0
        totals.append(operator_totals(graph).ravel())
    values = np.asarray(totals)
    scale = values.std(axis=0)
    varying = scale > 1e-9 * np.abs(values).max(axis=0)
    if not varying.any():
        return None
    effects = np.linalg.lstsq(one_hot, values[:, varying] / scale[varying])[0][:-1]
    # Rounding is no cost.
    return ChoiceCosts(np.round(effects, 9) * scale[varying])


def _split(table: Floats, genes: tuple[Gene, ...]) -> list[Floats]:
    return np.split(table, np.cumsum([gene.num_choices for gene in genes])[:-1])
