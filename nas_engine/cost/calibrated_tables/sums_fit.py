"""Finds the form in which a latency table's sums are served for a space: exact where that can be, fitted elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import pairwise

import numpy as np

from nas_engine.cost.calibrated_tables.sums import ChoiceSums, FittedSums, RoutedSums, TableSums
from nas_engine.cost.latency_table import LatencyTable, measured_costs
from nas_engine.cost.prediction.predictor import MetricPredictor
from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError, InvalidMeasurementError
from nas_engine.domain.metrics import LATENCY_US
from nas_engine.domain.search_space import Form, SearchSpace, sample_genotype
from nas_engine.spaces.densenas.space import DenseSpace

NUM_CHECKED = 64
"""Networks drawn at random, and cut into operators, by which it is found that sums are those of the choices: operators
that depend on a second choice in one network of twenty are missed in one table of thirty."""

NUM_FITTED = 300
"""Networks drawn at random whose sums others are fitted to."""

MIN_FITTED = 100
"""Fewest of them: a space that has no more networks is better measured."""

EXACT = 1e-9
"""Relative difference of two sums of the same numbers in another order."""


def find_sums(
    space: SearchSpace,
    table: LatencyTable,
    left_out: Collection[Genotype] = (),
    stopped: Callable[[], bool] = lambda: False,
) -> TableSums | None:
    """Find the form of a table's sums, and make its arrays: some hundred layer graphs, but for DenseNAS.

    Args:
        space: of the table.
        table: complete, as far as the space's tables are.
        left_out: canonical genotypes that nothing is fitted to, so that they can judge it.
        stopped: asked between graphs; once true, nothing is made.

    Returns:
        The sums; None where it was stopped.

    Raises:
        EngineError: the table lacks operators of most networks, or the space has no graphs.
    """
    if isinstance(space, DenseSpace):
        return _routed(space, table)
    summed = _Summed(space, table, stopped)
    try:
        return _of_choices(space, summed) or _fitted(space, summed, left_out)
    except _StoppedError:
        return None


class _StoppedError(Exception):
    """Somebody wants it to end."""


class _Summed:
    """Sums of single networks, by their layer graphs."""

    def __init__(self, space: SearchSpace, table: LatencyTable, stopped: Callable[[], bool]) -> None:
        self._space, self._table, self._stopped = space, table, stopped

    def us(self, genotype: Genotype) -> float | None:
        """Sum of a canonical genotype in microseconds; None where the table lacks an operator of it."""
        if self._stopped():
            raise _StoppedError
        graph = self._space.graph(self._space.decode(genotype), Form.DEPLOYED)
        if graph is None:
            raise EngineError(f"space {self._space.space_id} has no graphs: nothing can be estimated")
        try:
            return self._table.estimate_us(graph)
        except InvalidMeasurementError:
            return None


def _of_choices(space: SearchSpace, summed: _Summed) -> ChoiceSums | None:
    """What each choice adds, found one choice at a time; None where that is not the sum of random networks."""
    genes = space.genes
    offsets = np.cumsum([0, *(gene.num_choices for gene in genes)])
    base = (0,) * len(genes)
    fixed_us = summed.us(space.canonical(base))
    if fixed_us is None:
        return None
    added_us = np.zeros(int(offsets[-1]))
    for place, gene in enumerate(genes):
        for choice in range(1, gene.num_choices):
            changed = summed.us(space.canonical((*base[:place], choice, *base[place + 1 :])))
            added_us[offsets[place] + choice] = np.nan if changed is None else changed - fixed_us
    found = ChoiceSums(fixed_us=fixed_us, added_us=added_us, offsets=offsets[:-1])
    there = [np.flatnonzero(np.isfinite(added_us[first:last])) for first, last in pairwise(offsets)]
    rng = np.random.default_rng(0)
    for _ in range(NUM_CHECKED):
        genotype = space.canonical([int(rng.choice(choices)) for choices in there])
        by_graph = summed.us(genotype)
        if by_graph is None or abs(found.of(np.asarray([genotype]))[0] - by_graph) > EXACT * by_graph:
            return None
    return found


def _routed(space: DenseSpace, table: LatencyTable) -> RoutedSums:
    """The routing's costs as arrays."""
    routing, costs = space.routing, measured_costs(space, table)
    num_blocks = end = routing.end
    widest = max(len(routing.outgoing(block)) for block in range(num_blocks))
    deepest = max(block.num_layers for block in routing.blocks)
    target = np.full((num_blocks, widest), end)
    heads = np.zeros((num_blocks, widest, len(routing.head_operators)))
    layers = np.zeros((num_blocks + 1, deepest, len(routing.stack_operators)))
    num_layers, gene_of = np.zeros(num_blocks + 1, dtype=np.int64), [0]
    for block in routing.blocks[:-1]:
        gene_of.append(gene_of[-1] + 1 + (block.index > 0) + block.num_layers)
        for place, edge in enumerate(routing.outgoing(block.index)):
            target[block.index, place] = edge.target
            is_last = edge.target == end
            heads[block.index, place] = (
                costs.ending(routing, block.index) if is_last else costs.head(routing, block.index, edge.target)
            )
    for block in routing.routing_blocks:
        num_layers[block.index] = block.num_layers
        for layer, row in enumerate(costs.blocks[block.index - 1].stacks):
            layers[block.index, layer] = row
    if routing.skip is not None:
        layers[:, :, routing.skip] = 0.0
    return RoutedSums(
        fixed_us=costs.input_block + costs.classifier,
        gene_of=np.asarray(gene_of[:-1]),
        targets=target,
        head_us=heads,
        num_layers=num_layers,
        layer_us=layers,
    )


def _fitted(space: SearchSpace, summed: _Summed, left_out: Collection[Genotype]) -> FittedSums:
    """A predictor of the sums of random networks; all of these must be in the table."""
    rng, seen = np.random.default_rng(1), set(left_out)
    genotypes: list[Genotype] = []
    values: list[float] = []
    for _ in range(2 * NUM_FITTED):
        genotype = space.canonical(sample_genotype(space.genes, rng))
        if genotype in seen:
            continue
        seen.add(genotype)
        us = summed.us(genotype)
        if us is None:
            raise EngineError(
                f"operators of {space.space_id} depend on several choices at once, and the table lacks those of "
                "networks that combine them: its networks can only be measured"
            )
        genotypes.append(genotype)
        values.append(us)
        if len(values) == NUM_FITTED:
            break
    if len(values) < MIN_FITTED:
        raise EngineError(f"{space.space_id} has few networks, {len(values)} beside those that judge: measure them all")
    predictor = MetricPredictor(space.genes, LATENCY_US)
    predictor.fit(genotypes, values)
    return FittedSums(predictor=np.frombuffer(predictor.served(0.0, 0.0).to_bytes(), dtype=np.uint8))
