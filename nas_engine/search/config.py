"""The settings of every algorithm as frozen values, tagged by `AlgorithmKind`; defaults are the papers'."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import ClassVar, Union

from nas_engine.domain.dominance import Dominance
from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.objective import Metric


class AlgorithmKind(Enum):
    """The built-in algorithms."""

    RANDOM = "random"
    NSGA2 = "nsga2"
    SCARLET = "scarlet_nsga2"
    SPOS_EVOLUTION = "spos_evolution"
    BINNED_EVOLUTION = "binned_evolution"
    PREDICTOR_ASSISTED = "predictor_assisted"


class ConstraintHandling(Enum):
    """What becomes of told candidates that violate a constraint (accuracy, measured latency).

    FEASIBILITY_FIRST keeps them behind every feasible one (Deb et al. 2002). REJECT never lets them into the
    population and asks on until a generation is full (SCARLET-NAS, Algorithm 1).
    """

    FEASIBILITY_FIRST = "feasibility_first"
    REJECT = "reject"


class PredictorKind(Enum):
    """The surrogate of predictor-assisted search."""

    GAUSSIAN_PROCESS = "gaussian_process"
    RIDGE = "ridge"


_LATER: Mapping[str, bool] = {"later": True}
"""Marks settings that came after checkpoints were stored: at their default they are left out of a search's identity."""


def _probability(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise EngineError(f"{name} is {value}: give a probability between 0 and 1")


def _at_least(name: str, value: int, minimum: int) -> None:
    if value < minimum:
        raise EngineError(f"{name} is {value}: give at least {minimum}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VariationConfig:
    """How parents become offspring.

    Attributes:
        crossover_probability: of crossing a pair of parents at all.
        block_probability: of exchanging whole gene groups (stages) instead of single genes.
        mutation_probability: of mutating a child.
        structural_probability: of changing a structural gene (depth, resolution), where there is one, not leaves.
        mean_leaves: mean of the Poisson number of leaf genes changed (at least one is).
    """

    crossover_probability: float = 0.9
    block_probability: float = 0.5
    mutation_probability: float = 0.8
    structural_probability: float = 0.3
    mean_leaves: float = 0.5

    def __post_init__(self) -> None:
        _probability("crossover_probability", self.crossover_probability)
        _probability("block_probability", self.block_probability)
        _probability("mutation_probability", self.mutation_probability)
        _probability("structural_probability", self.structural_probability)
        if not (math.isfinite(self.mean_leaves) and self.mean_leaves >= 0):
            raise EngineError(f"mean_leaves is {self.mean_leaves}: give a finite value >= 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSearchConfig:
    """Random search; `batch_size` is how many candidates are asked at once."""

    kind: ClassVar[AlgorithmKind] = AlgorithmKind.RANDOM
    batch_size: int = 20

    def __post_init__(self) -> None:
        _at_least("batch_size", self.batch_size, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nsga2Config:
    """NSGA-II (Deb et al. 2002) on the integer encoding.

    Attributes:
        population_size: survivors per generation, and size of the initial sample.
        num_offspring: candidates per generation; None: as many as survive.
        variation: crossover and mutation.
        constraint_handling: what becomes of told candidates that violate a constraint.
        max_rejections: with REJECT, infeasible candidates allowed per generation before the search reports that the
            constraint cannot be met; None: 20 times the population.
        dominance: what ranks survivors and decides tournaments: values, or their confidence intervals.
    """

    kind: ClassVar[AlgorithmKind] = AlgorithmKind.NSGA2
    population_size: int = 20
    num_offspring: int | None = None
    variation: VariationConfig = field(default_factory=VariationConfig)
    constraint_handling: ConstraintHandling = ConstraintHandling.FEASIBILITY_FIRST
    max_rejections: int | None = None
    dominance: Dominance = field(default=Dominance.POINT, metadata=_LATER)

    def __post_init__(self) -> None:
        _at_least("population_size", self.population_size, 2)
        _at_least("num_offspring", self.offspring, 1)
        _at_least("max_rejections", self.rejection_limit, 1)

    @property
    def offspring(self) -> int:
        """Candidates per generation."""
        return self.population_size if self.num_offspring is None else self.num_offspring

    @property
    def rejection_limit(self) -> int:
        """Infeasible candidates allowed per generation with REJECT."""
        return 20 * self.population_size if self.max_rejections is None else self.max_rejections


@dataclass(frozen=True, slots=True, kw_only=True)
class ScarletConfig:
    """SCARLET-NAS's constrained, weighted NSGA-II (arXiv 1908.06022, Algorithm 1; probabilities of Table 1).

    Attributes:
        population_size: N.
        mutation_ratio: share of children that are mutated.
        p_random: p_rm, natural mutation.
        p_reinforced: p_re, mutation by what the search has learned.
        p_prior: p_pr, mutation by prior knowledge.
        p_known: p_M, guided by the objectives known without evaluation (MACs, params); the rest, p_{K-M}, by the
            objectives that must be evaluated.
        max_rejections, dominance: as in `Nsga2Config`.
    """

    kind: ClassVar[AlgorithmKind] = AlgorithmKind.SCARLET
    population_size: int = 70
    mutation_ratio: float = 0.8
    p_random: float = 0.2
    p_reinforced: float = 0.65
    p_prior: float = 0.15
    p_known: float = 0.7
    max_rejections: int | None = None
    dominance: Dominance = field(default=Dominance.POINT, metadata=_LATER)

    def __post_init__(self) -> None:
        _at_least("population_size", self.population_size, 2)
        _probability("mutation_ratio", self.mutation_ratio)
        _probability("p_known", self.p_known)
        for name in ("p_random", "p_reinforced", "p_prior"):
            _probability(name, getattr(self, name))
        total = self.p_random + self.p_reinforced + self.p_prior
        if abs(total - 1.0) > 1e-9:
            raise EngineError(f"p_random + p_reinforced + p_prior is {total}: they must add up to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SposEvolutionConfig:
    """SPOS's single-objective evolution (reference defaults of src/Search/search.py: 50 + 20 x 50 candidates)."""

    kind: ClassVar[AlgorithmKind] = AlgorithmKind.SPOS_EVOLUTION
    population_size: int = 50
    num_parents: int = 10
    num_mutation: int = 25
    num_crossover: int = 25
    gene_mutation_probability: float = 0.1

    def __post_init__(self) -> None:
        _at_least("num_parents", self.num_parents, 1)
        _at_least("num_mutation", self.num_mutation, 0)
        _at_least("num_crossover", self.num_crossover, 0)
        _at_least("population_size", self.population_size, max(1, self.num_mutation + self.num_crossover))
        _probability("gene_mutation_probability", self.gene_mutation_probability)


@dataclass(frozen=True, slots=True, kw_only=True)
class BinnedEvolutionConfig:
    """AttentiveNAS-style evolution: the best candidate of each bin of one metric breeds the next generation.

    Attributes:
        bin_metric: cut into bins; one of the two objectives.
        bin_width: in the metric's unit (reference: 10e6 MACs).
        population_size: initial sample (reference: 512).
        num_mutation: mutated children per generation (reference: 128).
        num_crossover: crossed children per generation (reference: 128).
        gene_mutation_probability: per gene (reference: 0.2).
        include_first: start with the genotype of every gene's first option, the smallest subnet where options ascend.
    """

    kind: ClassVar[AlgorithmKind] = AlgorithmKind.BINNED_EVOLUTION
    bin_metric: Metric = Metric.MACS
    bin_width: float = 10e6
    population_size: int = 512
    num_mutation: int = 128
    num_crossover: int = 128
    gene_mutation_probability: float = 0.2
    include_first: bool = True

    def __post_init__(self) -> None:
        _at_least("population_size", self.population_size, 1)
        _at_least("num_mutation", self.num_mutation, 0)
        _at_least("num_crossover", self.num_crossover, 0)
        _at_least("num_mutation + num_crossover", self.num_mutation + self.num_crossover, 1)
        _probability("gene_mutation_probability", self.gene_mutation_probability)
        if not (math.isfinite(self.bin_width) and self.bin_width > 0):
            raise EngineError(f"bin_width is {self.bin_width}: give a finite width > 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorAssistedConfig:
    """Surrogates learned from the told results, an inner NSGA-II on them, real evaluation of the chosen few.

    Attributes:
        num_initial: random candidates before the first fit.
        num_chosen: candidates per generation.
        predictor: the surrogate of each objective that is not cheap.
        inner_population: population of the inner NSGA-II.
        inner_generations: its generations.
        exploration: standard deviations subtracted from each prediction when candidates are chosen (optimism).
    """

    kind: ClassVar[AlgorithmKind] = AlgorithmKind.PREDICTOR_ASSISTED
    num_initial: int = 25
    num_chosen: int = 10
    predictor: PredictorKind = PredictorKind.GAUSSIAN_PROCESS
    inner_population: int = 60
    inner_generations: int = 15
    exploration: float = 1.0

    def __post_init__(self) -> None:
        _at_least("num_initial", self.num_initial, 3)
        _at_least("num_chosen", self.num_chosen, 1)
        _at_least("inner_population", self.inner_population, 2)
        _at_least("inner_generations", self.inner_generations, 1)
        if not (math.isfinite(self.exploration) and self.exploration >= 0):
            raise EngineError(f"exploration is {self.exploration}: give a finite value >= 0")


AlgorithmConfig = Union[
    RandomSearchConfig,
    Nsga2Config,
    ScarletConfig,
    SposEvolutionConfig,
    BinnedEvolutionConfig,
    PredictorAssistedConfig,
]


def settings_of(config: AlgorithmConfig) -> Mapping[str, JsonValue]:
    """The algorithm's name and every setting as JSON; part of a checkpoint's identity."""
    return {"kind": config.kind.value, **_document(config)}


def _document(value: object) -> dict[str, JsonValue]:
    if not is_dataclass(value):
        raise EngineError(f"{value!r} is not a settings value")
    return {
        f.name: _json(getattr(value, f.name))
        for f in fields(value)
        if not (f.metadata.get("later") and getattr(value, f.name) == f.default)
    }


def _json(value: object) -> JsonValue:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Metric():
            return value.label
        case Enum():
            return str(value.value)
        case _:
            return _document(value)
