"""Which path a step trains: drawing architectures, uniformly or by MACs bins, with bounded tries.

SPOS's paper says "uniform sampling"; its code picks a bin of MACs uniformly and then rejects uniform
architectures until one falls into the bin, at most 500 times (megvii-model/SinglePathOneShot).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import TrainingError
from nas_engine.domain.layer_graph import LayerGraph
from nas_engine.domain.search_space import Form, SearchSpace, sample_genotype
from nas_engine.domain.views.complexity import complexity
from nas_engine.settings.strategies import MacsBinnedSettings, UniformSettings

MAX_TRIES = 500
# SPOS's bins of MACs at 224 pixels, published for 1,000 classes: [290M, 300M), ... [350M, 360M).
PUBLISHED_EDGES = tuple(float(m) * 1e6 for m in range(290, 361, 10))
QUANTILE_SAMPLES = 700
ADDITIVITY_CHECKS = 16


@dataclass(frozen=True, slots=True)
class DrawnPath:
    """One drawn architecture.

    Attributes:
        in_bin: False where 500 tries did not hit the chosen bin and the last draw was taken.
    """

    genotype: Genotype
    in_bin: bool = True


PathSampler = Callable[[np.random.Generator], DrawnPath]


def make_sampler(space: SearchSpace, settings: UniformSettings | MacsBinnedSettings) -> PathSampler:
    """The sampler of a space.

    Raises:
        TrainingError: quantile bins are asked for in a space whose architectures all cost the same.
    """
    if isinstance(settings, UniformSettings):
        return uniform_sampler(space)
    counter = MacsCounter(space)
    return binned_sampler(space, counter.macs, _edges(space, counter.macs, settings))


def uniform_sampler(space: SearchSpace) -> PathSampler:
    """Every genotype is equally likely."""
    return lambda rng: DrawnPath(space.canonical(sample_genotype(space.genes, rng)))


def binned_sampler(space: SearchSpace, macs: Callable[[Genotype], int], edges: Sequence[float]) -> PathSampler:
    """A bin is drawn uniformly, then genotypes until one falls into it, at most `MAX_TRIES` times."""

    def draw(rng: np.random.Generator) -> DrawnPath:
        chosen = int(rng.integers(len(edges) - 1))
        low, high = edges[chosen], edges[chosen + 1]
        for _ in range(MAX_TRIES):
            genotype = space.canonical(sample_genotype(space.genes, rng))
            if low <= macs(genotype) < high:
                return DrawnPath(genotype)
        return DrawnPath(genotype, in_bin=False)

    return draw


class MacsCounter:
    """MACs of genotypes; one table look-up per gene where costs add up (SPOS: they do), else by the graph."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        base = (0,) * len(space.genes)
        self._base = self._exact(base)
        self._table = [
            [self._exact((*base[:i], choice, *base[i + 1 :])) - self._base for choice in range(gene.num_choices)]
            for i, gene in enumerate(space.genes)
        ]
        rng = np.random.default_rng(0)
        probes = [space.canonical(sample_genotype(space.genes, rng)) for _ in range(ADDITIVITY_CHECKS)]
        self.is_additive = all(self._sum(probe) == self._exact(probe) for probe in probes)

    def macs(self, genotype: Genotype) -> int:
        """MACs of the DEPLOYED network."""
        return self._sum(genotype) if self.is_additive else self._exact(genotype)

    def _sum(self, genotype: Genotype) -> int:
        return self._base + sum(row[choice] for row, choice in zip(self._table, genotype, strict=True))

    def _exact(self, genotype: Genotype) -> int:
        return complexity(decoded_graph(self._space, genotype, Form.DEPLOYED)).macs


def decoded_graph(space: SearchSpace, genotype: Genotype, form: Form) -> LayerGraph:
    """The graph of a genotype.

    Raises:
        TrainingError: the space is a table of results without graphs.
    """
    graph = space.graph(space.decode(genotype), form)
    if graph is None:
        raise TrainingError(f"space {space.space_id!r} is a table of results: there is no network to train")
    return graph


def _edges(space: SearchSpace, macs: Callable[[Genotype], int], bins: MacsBinnedSettings) -> tuple[float, ...]:
    if bins.edges is not None:
        return bins.edges
    if bins.minimum_macs is not None and bins.maximum_macs is not None:
        return tuple(np.linspace(bins.minimum_macs, bins.maximum_macs, bins.num_bins + 1).tolist())
    # SPOS's space, for any number of classes: 100 instead of 1,000 are 0.9 million MACs less.
    if bins.num_bins == len(PUBLISHED_EDGES) - 1 and space.space_id == "spos" and space.named:
        return PUBLISHED_EDGES
    rng = np.random.default_rng(0)
    drawn = [macs(space.canonical(sample_genotype(space.genes, rng))) for _ in range(QUANTILE_SAMPLES)]
    edges = np.quantile(np.asarray(drawn, dtype=np.float64), np.linspace(0.0, 1.0, bins.num_bins + 1))
    distinct = tuple(float(edge) for edge in np.unique(edges))
    if len(distinct) < 2:
        raise TrainingError(f"all architectures of {space.space_id!r} have {distinct[0]:.0f} MACs: sample uniformly")
    # Open at both ends, so that architectures beyond the sampled range can be drawn too.
    return (0.0, *distinct[1:-1], math.inf)


def extreme_genotypes(space: SearchSpace) -> tuple[Genotype, Genotype]:
    """Genotypes of least and of most MACs, found gene by gene.

    Exact where each gene's cheapest choice does not depend on the others, as in elastic spaces
    (AttentiveNAS's smallest and largest subnets) and in SPOS's.
    """
    found = []
    for pick in (min, max):
        genotype = (0,) * len(space.genes)
        for i, gene in enumerate(space.genes):
            options = [(*genotype[:i], choice, *genotype[i + 1 :]) for choice in range(gene.num_choices)]
            genotype = pick(options, key=lambda option: complexity(decoded_graph(space, option, Form.DEPLOYED)).macs)
        found.append(space.canonical(genotype))
    return found[0], found[1]
