"""SCARLET-NAS's hierarchical mutation: a two-level categorical over named operators (arXiv 1908.06022, Table 1).

Level 1 draws how a child is mutated: random (p_rm), reinforced by what the search has learned (p_re), or by prior
knowledge (p_pr). Level 2 draws which objectives guide the latter two: the M that are known without evaluation (p_M) or
the K-M that must be measured (p_{K-M}). The paper gives the probabilities; what the operators do beyond their names is
defined in a companion text without code, so the two guided operators here are our reading, and can be replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Protocol

import numpy as np

from nas_engine.domain.architecture import Genotype
from nas_engine.domain.errors import EngineError
from nas_engine.domain.metric import Goal, Metric
from nas_engine.domain.metrics import MACS, is_cheap
from nas_engine.search.algorithm import CheapFilter, SearchProblem
from nas_engine.search.archive import EvaluatedArchive
from nas_engine.search.encoding import Encoding
from nas_engine.search.pareto import Floats
from nas_engine.search.variation.operator_protocols import Mutation


class MutationLevel(Enum):
    """Level 1: how a child is mutated."""

    RANDOM = "random"
    REINFORCED = "reinforced"
    PRIOR = "prior"


class Guide(Enum):
    """Level 2: which objectives guide it. KNOWN ones cost nothing (MACs, params), MEASURED ones do."""

    KNOWN = "known"
    MEASURED = "measured"


class GuidedMutation(Protocol):
    """A mutation that may take guidance from one group of objectives."""

    def __call__(self, genotype: Genotype, guide: Guide, rng: np.random.Generator) -> Genotype:
        """Another canonical genotype."""


class TwoLevelMutation:
    """Draws an operator and a guide, then applies it."""

    def __init__(
        self,
        operators: Mapping[MutationLevel, GuidedMutation],
        level_probabilities: Mapping[MutationLevel, float],
        p_known: float,
    ) -> None:
        """See module.

        Raises:
            EngineError: an operator or a probability is missing, or they do not add up to 1.
        """
        missing = [level.value for level in MutationLevel if level not in operators or level not in level_probabilities]
        if missing:
            raise EngineError(f"two-level mutation lacks an operator or a probability for {', '.join(missing)}")
        self._levels = tuple(MutationLevel)
        self._probabilities = np.asarray([level_probabilities[level] for level in self._levels])
        if (self._probabilities < 0).any() or abs(self._probabilities.sum() - 1.0) > 1e-9 or not 0 <= p_known <= 1:
            raise EngineError("level probabilities of the two-level mutation must add up to 1, p_known lie in [0, 1]")
        self._operators = dict(operators)
        self._p_known = p_known

    def draw(self, rng: np.random.Generator) -> tuple[MutationLevel, Guide]:
        """One draw of the two-level categorical."""
        level = self._levels[int(rng.choice(len(self._levels), p=self._probabilities))]
        return level, Guide.KNOWN if rng.random() < self._p_known else Guide.MEASURED

    def __call__(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """The mutated genotype."""
        level, guide = self.draw(rng)
        return self._operators[level](genotype, guide, rng)


class RandomMutation:
    """p_rm: a natural mutation, unguided."""

    def __init__(self, mutation: Mutation) -> None:
        self._mutation = mutation

    def __call__(self, genotype: Genotype, guide: Guide, rng: np.random.Generator) -> Genotype:
        """The mutated genotype."""
        del guide
        return self._mutation(genotype, rng)


class ReinforcedMutation:
    """p_re: one gene moves to a choice that has paid off so far.

    The controller is a table: the credit of a choice is the mean standardised merit of the results that hold it,
    shrunk towards 0 by `PRIOR_COUNT` virtual results; the new choice is drawn from the softmax of the credits. It is a
    function of the archive alone, so a checkpoint needs no state of it.
    """

    PRIOR_COUNT = 2.0
    TEMPERATURE = 0.5

    def __init__(
        self, problem: SearchProblem, encoding: Encoding, archive: Callable[[], EvaluatedArchive], fallback: Mutation
    ) -> None:
        self._problem = problem
        self._encoding = encoding
        self._archive = archive
        self._fallback = fallback
        self._cache: dict[Guide, tuple[EvaluatedArchive, int, tuple[Floats, ...]]] = {}

    def __call__(self, genotype: Genotype, guide: Guide, rng: np.random.Generator) -> Genotype:
        """The mutated genotype; as the fallback while nothing is learned or the gene has no effect."""
        credits_per_gene = self._credits(guide)
        if not credits_per_gene or not self._encoding.variable:
            return self._fallback(genotype, rng)
        position = int(rng.choice(np.asarray(self._encoding.variable)))
        weights = np.exp(credits_per_gene[position] / self.TEMPERATURE)
        weights[genotype[position]] = 0.0
        changed = list(self._encoding.fill_inactive(genotype, rng))
        changed[position] = int(rng.choice(len(weights), p=weights / weights.sum()))
        candidate = self._encoding.canonical(changed)
        return candidate if candidate != genotype else self._fallback(genotype, rng)

    def _credits(self, guide: Guide) -> tuple[Floats, ...]:
        archive = self._archive()
        cached = self._cache.get(guide)
        if cached is not None and cached[0] is archive and cached[1] == archive.version:
            return cached[2]
        computed = self._compute(archive, guide)
        self._cache[guide] = (archive, archive.version, computed)
        return computed

    def _compute(self, archive: EvaluatedArchive, guide: Guide) -> tuple[Floats, ...]:
        feasible = archive.feasible()
        if len(feasible) < 2:
            return ()
        points = archive.points(feasible)
        wanted = [is_cheap(o.metric) is (guide is Guide.KNOWN) for o in self._problem.objectives]
        points = points[:, wanted] if any(wanted) else points
        spread = points.std(axis=0)
        merit = -((points - points.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).mean(axis=1)
        choices = np.asarray([observation.genotype for observation in feasible])
        return tuple(
            np.bincount(choices[:, g], weights=merit, minlength=n)
            / (np.bincount(choices[:, g], minlength=n) + self.PRIOR_COUNT)
            for g, n in enumerate(self._encoding.num_choices)
        )


class PriorMutation:
    """p_pr: of a few random mutations, the one prior knowledge prefers; nothing is evaluated.

    Guided by the known objectives it takes the variant best in them; guided by the measured ones the largest that the
    cheap filter admits, since capacity buys accuracy. Both read the cheap filter's values.
    """

    NUM_VARIANTS = 4

    def __init__(self, problem: SearchProblem, cheap_filter: CheapFilter, mutation: Mutation) -> None:
        self._problem = problem
        self._filter = cheap_filter
        self._mutation = mutation

    def __call__(self, genotype: Genotype, guide: Guide, rng: np.random.Generator) -> Genotype:
        """The preferred variant; the first one where the filter knows no cheap metric."""
        variants = [self._mutation(genotype, rng) for _ in range(self.NUM_VARIANTS)]
        base = self._filter(genotype).values
        return min(variants, key=lambda variant: self._reluctance(variant, base, guide))

    def _reluctance(self, variant: Genotype, base: Mapping[Metric, float], guide: Guide) -> float:
        check = self._filter(variant)
        if guide is Guide.MEASURED:
            return check.total_violation * 1e9 - check.values.get(MACS, 0.0)
        known = [o for o in self._problem.objectives if o.metric in check.values and base.get(o.metric)]
        return float(
            sum((1 if o.goal is Goal.MINIMIZE else -1) * check.values[o.metric] / abs(base[o.metric]) for o in known)
        )
