"""Generated worlds: accuracy and costs as sums of terms of one, two or three genes, and cells whose paths can break.

A larger choice costs more and is more accurate, with diminishing returns and exceptions, so that there is a front to
find. Every figure of a world follows from the numbers that it is made with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import LATENCY_US, PARAMS, TOP1
from nas_engine.domain.objective import Constraint, Objective
from nas_engine.domain.search_space import Gene
from worlds.function_space import FunctionSpace
from worlds.world import Floats, Ints, World

ACCURACY = Objective(TOP1, Goal.MAXIMIZE)
LATENCY = Objective(LATENCY_US, Goal.MINIMIZE)
SIZE = Objective(PARAMS, Goal.MINIMIZE)
SAMPLE = 4096
"""Random genotypes by which a sum is scaled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """The numbers behind a generated world.

    Attributes:
        num_choices: per gene.
        pairs: interactions of two genes, per gene, in accuracy; half as many neighbours interact in latency.
        triples: interactions of three genes, per gene, in accuracy.
        interaction: standard deviation of an interaction, next to 1 for the largest effect of a usual gene.
        dead: share of genes without any effect.
        ordinal: whether choices are in the order of their size; otherwise they are shuffled.
        step: accuracies are rounded down to multiples of it (plateaus); 0 leaves them smooth.
        jitter: deviation of accuracy that belongs to a genotype permanently, as that of one training run.
        genes_per_stage: genes that are one group.
    """

    num_choices: tuple[int, ...]
    pairs: float = 0.0
    triples: float = 0.0
    interaction: float = 0.35
    dead: float = 0.0
    ordinal: bool = False
    step: float = 0.0
    jitter: float = 0.0
    genes_per_stage: int = 4


def landscape_world(
    name: str,
    shape: Landscape,
    seed: int,
    *,
    three: bool = False,
    size_for_latency: bool = False,
    latency_quantile: float | None = None,
    relative_noise: tuple[float, ...] = (),
) -> World:
    """A world of a landscape.

    Args:
        name: of the world.
        shape: of the landscape.
        seed: of its random numbers.
        three: whether params are a third objective, beside accuracy and latency.
        size_for_latency: whether params take the place of latency as the second objective.
        latency_quantile: bounds the latency to this quantile of random architectures; it need not be an objective.
        relative_noise: see `World`.
    """
    rng = np.random.default_rng((seed, len(shape.num_choices), *shape.num_choices))
    choices = np.asarray(shape.num_choices)
    alive = np.flatnonzero(rng.permutation(len(choices)) >= round(shape.dead * len(choices)))
    sizes = [np.sort(rng.random(count)) if shape.ordinal else rng.random(count) for count in choices]
    weight, cost, bulk = (rng.lognormal(0.0, 0.6, len(choices)) for _ in range(3))
    gain = _sum_of_genes(
        alive, [w * (s**0.6 + 0.15 * rng.normal(size=len(s))) for w, s in zip(weight, sizes, strict=True)]
    )
    micros = _sum_of_genes(alive, [c * (0.15 + s + 0.2 * rng.random(len(s))) for c, s in zip(cost, sizes, strict=True)])
    weights = _sum_of_genes(
        alive, [b * (0.1 + s**2 + 0.1 * rng.random(len(s))) for b, s in zip(bulk, sizes, strict=True)]
    )
    together = [
        _interactions(rng, alive, choices, order, round(per_gene * len(alive)), shape.interaction)
        for order, per_gene in ((2, shape.pairs), (3, shape.triples))
    ]
    fused = _interactions(rng, alive, choices, 2, round(shape.pairs * len(alive) / 2), 0.15, neighbours=True)
    sample = rng.integers(choices, size=(SAMPLE, len(choices)))
    quality = _standardised(lambda x: gain(x) + sum(term(x) for term in together), sample)
    latency = _standardised(lambda x: micros(x) + fused(x), sample)
    jitter = _row_noise(rng, len(choices))

    def values_of(x: Ints) -> Floats:
        top1 = 0.94 - 0.10 * np.exp(-0.45 * quality(x)) + shape.jitter * jitter(x)
        if shape.step:
            top1 = np.floor(top1 / shape.step) * shape.step
        columns = {
            TOP1: np.clip(top1, 0.05, 0.99),
            LATENCY_US: 2000.0 * np.exp(0.25 * latency(x)),
            PARAMS: np.round(1e6 * (0.2 + weights(x))),
        }
        return np.stack([columns[one.metric] for one in (*objectives, *extra)], axis=1)

    objectives = (ACCURACY, SIZE) if size_for_latency else (ACCURACY, LATENCY, SIZE) if three else (ACCURACY, LATENCY)
    extra = (LATENCY,) if size_for_latency else ()
    bounds = []
    if latency_quantile is not None:
        column = [one.metric for one in (*objectives, *extra)].index(LATENCY_US)
        limit = float(np.quantile(values_of(sample)[:, column], latency_quantile))
        bounds.append(Constraint(LATENCY_US, maximum=limit))
    return World(name, _space(name, shape), objectives, values_of, tuple(bounds), extra, relative_noise)


def _space(name: str, shape: Landscape) -> FunctionSpace:
    return FunctionSpace(
        name,
        tuple(
            Gene(f"gene{g}", tuple(map(str, range(count))), f"stage{g // shape.genes_per_stage}")
            for g, count in enumerate(shape.num_choices)
        ),
    )


Term = Callable[[Ints], Floats]


def _sum_of_genes(genes: Ints, tables: Sequence[Floats]) -> Term:
    width = max(len(table) for table in tables)
    padded = np.zeros((len(tables), width))
    for gene in genes:
        padded[gene, : len(tables[gene])] = tables[gene]
    rows = np.arange(len(tables))
    return lambda x: padded[rows, x].sum(axis=1)


def _interactions(
    rng: np.random.Generator,
    genes: Ints,
    choices: Ints,
    order: int,
    num: int,
    deviation: float,
    *,
    neighbours: bool = False,
) -> Term:
    """`num` random tables over `order` genes each."""
    chosen = (
        list(pairwise(genes))[:num]
        if neighbours
        else [tuple(rng.choice(genes, size=order, replace=False)) for _ in range(num)]
    )
    tables = [deviation * rng.normal(size=tuple(choices[list(group)])) for group in chosen]

    def term(x: Ints) -> Floats:
        total = np.zeros(len(x))
        for group, table in zip(chosen, tables, strict=True):
            total += table[tuple(x[:, gene] for gene in group)]
        return total

    return term


def _standardised(term: Term, sample: Ints) -> Term:
    values = term(sample)
    mean, deviation = float(values.mean()), float(values.std())
    return lambda x: (term(x) - mean) / deviation


def _row_noise(rng: np.random.Generator, num_genes: int) -> Term:
    """About standard normal, and a function of the genotype alone."""
    factors = rng.integers(1, 2**40, size=num_genes) | 1

    def term(x: Ints) -> Floats:
        mixed = ((x + 1) * factors).sum(axis=1)
        parts = [((mixed * prime) % 99991) / 99991.0 for prime in (7919, 104729, 1299709, 15485863)]
        return np.asarray((sum(parts) - 2.0) * np.sqrt(3.0))

    return term


def cell_world(name: str, seed: int, *, num_nodes: int, operators: Sequence[str]) -> World:
    """A cell as in NAS-Bench-201: an operator per edge of a complete DAG; "none" breaks every path through it.

    Edges off every path have no effect, a cell without a path has chance accuracy, convolutions saturate.

    Args:
        name: of the world.
        seed: of its random numbers: accuracy of operators and positions, the device's latencies.
        num_nodes: input and output included.
        operators: among none, skip, pool, conv1, conv3, conv5.
    """
    rng = np.random.default_rng((seed, num_nodes, len(operators)))
    edges = [(a, b) for b in range(num_nodes) for a in range(b)]
    usual_gain = {"none": 0.0, "skip": 0.05, "pool": 0.02, "conv1": 0.55, "conv3": 1.0, "conv5": 1.05}
    usual_cost = {"none": 0.0, "skip": 0.04, "pool": 0.3, "conv1": 0.5, "conv3": 1.0, "conv5": 2.2}
    gain = np.asarray([usual_gain[name] for name in operators]) * rng.lognormal(0, 0.15, len(operators))
    cost = np.asarray([usual_cost[name] for name in operators]) * rng.lognormal(0, 0.5, len(operators))
    place, cost_of_place = rng.lognormal(0, 0.25, len(edges)), rng.lognormal(0, 0.2, len(edges))
    none, skip = operators.index("none"), operators.index("skip")
    jitter, device_jitter = _row_noise(rng, len(edges)), _row_noise(rng, len(edges))

    def values_of(x: Ints) -> Floats:
        open_ = x != none
        fed = np.zeros((len(x), num_nodes), dtype=np.bool_)
        used = np.zeros_like(fed)
        fed[:, 0], used[:, -1] = True, True
        for e, (a, b) in enumerate(edges):
            fed[:, b] |= fed[:, a] & open_[:, e]
        for e, (a, b) in reversed(list(enumerate(edges))):
            used[:, a] |= used[:, b] & open_[:, e]
        live = np.stack([open_[:, e] & fed[:, a] & used[:, b] for e, (a, b) in enumerate(edges)], axis=1)
        depth = np.zeros((len(x), num_nodes))
        for e, (a, b) in enumerate(edges):
            reached = depth[:, a] + np.minimum(gain[x[:, e]], 1.0)
            depth[:, b] = np.maximum(depth[:, b], np.where(live[:, e], reached, 0.0))
        capacity = (live * gain[x] * place).sum(axis=1)
        residual = (live & (x == skip)).any(axis=1) & (depth[:, -1] > 0.5)
        quality = capacity + 0.5 * depth[:, -1] + 0.25 * residual
        top1 = np.where(live.any(axis=1), 0.94 - 0.35 * np.exp(-0.9 * quality) + 0.002 * jitter(x), 0.10)
        serial = (live * cost[x] * cost_of_place).sum(axis=1)
        latency = (
            300.0 * (1.0 + 2.0 * serial + 0.1 * (live & (cost[x] > 0)).sum(axis=1)) * (1 + 0.01 * device_jitter(x))
        )
        return np.stack([np.clip(top1, 0.05, 0.99), latency], axis=1)

    genes = tuple(Gene(f"edge{a}{b}", tuple(operators), f"node{b}") for a, b in edges)
    return World(name, FunctionSpace(name, genes), (ACCURACY, LATENCY), values_of)


def all_genotypes(num_choices: Ints) -> Ints:
    """Every genotype, one per row."""
    return np.stack(np.meshgrid(*map(np.arange, num_choices), indexing="ij"), axis=-1).reshape(-1, len(num_choices))
