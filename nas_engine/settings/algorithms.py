"""Search algorithms and their settings; the defaults are the papers', and of NSGA-II those that benchmarks chose.

An algorithm takes these values as they are, REST takes them in a search spec, and a checkpoint names them.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from enum import Enum
from typing import Any, Literal

from pydantic import Field, model_validator

from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.base import CheckpointedSettings, MetricName, SpecPart, later


class ConstraintHandling(Enum):
    """Treatment of evaluated candidates that violate a constraint (accuracy, measured latency).

    `feasibility_first` ranks them behind every feasible one (Deb et al. 2002). `reject` never lets them into the
    population and asks on until a generation is full (SCARLET-NAS, Algorithm 1).
    """

    FEASIBILITY_FIRST = "feasibility_first"
    REJECT = "reject"


class PredictorKind(Enum):
    """Model that predicts a metric from the genotype."""

    GAUSSIAN_PROCESS = "gaussian_process"
    RIDGE = "ridge"


class RandomSearchSettings(CheckpointedSettings):
    """Random search without repetition."""

    kind: Literal["random"] = "random"
    """Name of the algorithm; it selects these settings."""

    batch_size: int = Field(default=20, ge=1, le=10_000)
    """Number of candidates asked at once."""


AUTO_SAMPLE = 16
"""Initial sample of NSGA-II with two objectives where no population is given."""

AUTO_SURVIVORS = 10
"""Survivors that NSGA-II starts with there; one more for every `AUTO_OBSERVED_PER_SURVIVOR` candidates evaluated."""

AUTO_OBSERVED_PER_SURVIVOR = 30

AUTO_MATES = 3
"""Candidates for a second parent there, the one nearest to the first in the objectives being taken."""

AUTO_PER_OBJECTIVE = 8
"""Further candidates in the initial sample, and further survivors, for each objective beyond two."""


class Nsga2Settings(CheckpointedSettings):
    """NSGA-II (Deb et al. 2002) on the space's integer encoding."""

    NO_SHIFTING = ""

    kind: Literal["nsga2"] = "nsga2"
    """Name of the algorithm; it selects these settings."""

    population_size: int | None = later(None, ge=2, le=10_000)
    """Number of survivors per generation, and size of the initial sample; absent: it follows from the space and the
    objectives and grows with the number of candidates that were evaluated."""

    num_offspring: int | None = Field(default=None, ge=1, le=10_000)
    """Number of candidates per generation; absent: as many as survive where `population_size` is given, else half as
    many."""

    crossover_probability: float = Field(default=0.9, ge=0, le=1)
    """Probability that a pair of parents is crossed at all."""

    block_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability that a crossover exchanges whole stages instead of single genes."""

    mutation_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability that a child is mutated (benchmarks/search/search_quality.py; the first release had 0.8)."""

    num_mates: int | None = later(None, ge=1, le=100)
    """Number of tournament winners among which the one nearest to the first parent, in the objectives, becomes the
    second; absent: 1 where `population_size` is given, which is the classical algorithm, else 3."""

    structural_probability: float = Field(default=0.3, ge=0, le=1)
    """Probability that a mutation changes a structural gene (depth, resolution), where the space has one."""

    mean_leaves: float = Field(default=0.5, ge=0, le=1000)
    """Mean of the Poisson number of leaf genes that a mutation changes; at least one is (benchmarks: 0.5)."""

    constraint_handling: ConstraintHandling = ConstraintHandling.FEASIBILITY_FIRST
    """Treatment of evaluated candidates that violate a constraint: ranked behind all others, or never admitted to the
    population."""

    max_rejections: int | None = later(None, ge=1)
    """With `reject`: number of candidates of one generation that may violate a constraint before the search reports
    that it cannot be met; absent: 20 times the population."""

    def initial_sample(self, num_architectures: int, num_objectives: int) -> int:
        """Number of random candidates before any are bred.

        Args:
            num_architectures: size of the space; a small one is not spent on the sample.
            num_objectives: of the search; more of them need more candidates for a first front.
        """
        if self.population_size is not None:
            return self.population_size
        return max(4, min(AUTO_SAMPLE + AUTO_PER_OBJECTIVE * (num_objectives - 2), num_architectures // 10))

    def survivors(self, num_observed: int, num_objectives: int) -> int:
        """Number of survivors once `num_observed` candidates were evaluated.

        It follows the search instead of a budget that may be extended: few survivors make a short search quick, more
        of them hold a front that gets long.
        """
        if self.population_size is not None:
            return self.population_size
        return AUTO_SURVIVORS + AUTO_PER_OBJECTIVE * (num_objectives - 2) + num_observed // AUTO_OBSERVED_PER_SURVIVOR

    def offspring(self, num_observed: int, num_objectives: int) -> int:
        """Number of candidates per generation once `num_observed` candidates were evaluated."""
        if self.num_offspring is not None:
            return self.num_offspring
        num = self.survivors(num_observed, num_objectives)
        return num if self.population_size is not None else max(1, num // 2)

    @property
    def mates(self) -> int:
        """Number of candidates for a second parent."""
        if self.num_mates is not None:
            return self.num_mates
        return AUTO_MATES if self.population_size is None else 1

    @property
    def rejection_limit(self) -> int:
        """Number of infeasible candidates per generation that `reject` allows."""
        return 20 * (self.population_size or AUTO_SAMPLE) if self.max_rejections is None else self.max_rejections

    def identity(self) -> dict[str, JsonValue]:
        """Return the document that a checkpoint names: how children are made is a part of its own there."""
        document = {**super().identity(), "max_rejections": self.max_rejections}
        document["variation"] = {
            name: document.pop(name)
            for name in (
                "crossover_probability",
                "block_probability",
                "mutation_probability",
                "structural_probability",
                "mean_leaves",
            )
        }
        return document


class ScarletNsga2Settings(CheckpointedSettings):
    """SCARLET-NAS's constrained, weighted NSGA-II (arXiv 1908.06022, Algorithm 1; probabilities of Table 1).

    Cheap constraints are checked before anything is evaluated; a candidate that misses another constraint never
    enters the population. Objective weights weigh the crowding distance.
    """

    NO_SHIFTING = ""

    kind: Literal["scarlet_nsga2"] = "scarlet_nsga2"
    """Name of the algorithm; it selects these settings."""

    population_size: int = Field(default=70, ge=2, le=10_000)
    """Number of survivors per generation (Table 1: 70)."""

    mutation_ratio: float = Field(default=0.8, ge=0, le=1)
    """Share of children that are mutated (Table 1: 0.8)."""

    p_random: float = Field(default=0.2, ge=0, le=1)
    """Probability that a mutation is natural, by chance (p_rm, Table 1: 0.2)."""

    p_reinforced: float = Field(default=0.65, ge=0, le=1)
    """Probability that a mutation is guided by what the search has learned (p_re, Table 1: 0.65)."""

    p_prior: float = Field(default=0.15, ge=0, le=1)
    """Probability that a mutation is guided by prior knowledge (p_pr, Table 1: 0.15)."""

    p_known: float = Field(default=0.7, ge=0, le=1)
    """Probability that a guided mutation follows an objective that is known without evaluating, such as MACs (p_M,
    Table 1: 0.7); the rest follows objectives that must be evaluated."""

    max_rejections: int | None = Field(default=None, ge=1)
    """Number of candidates of one generation that may violate a constraint before the search reports that it cannot be
    met; absent: 20 times the population."""

    num_models: int | None = Field(default=None, ge=1, le=1000)
    """Number of models picked at the end, equally spaced along the front; absent: the whole front."""

    @model_validator(mode="after")
    def _adds_up(self) -> ScarletNsga2Settings:
        total = self.p_random + self.p_reinforced + self.p_prior
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"p_random + p_reinforced + p_prior is {total}: they must add up to 1")
        return self

    def identity(self) -> dict[str, JsonValue]:
        """Return the document that a checkpoint names; what is picked at the end changes nothing before it."""
        return {name: value for name, value in super().identity().items() if name != "num_models"}


class SposEvolutionSettings(CheckpointedSettings):
    """SPOS's evolution for one objective: the best candidates so far are mutated and crossed.

    Defaults are those of the reference code (src/Search/search.py: 50 candidates, then 20 generations of 50).
    """

    NO_SHIFTING = ""

    kind: Literal["spos_evolution"] = "spos_evolution"
    """Name of the algorithm; it selects these settings."""

    population_size: int = Field(default=50, ge=1, le=10_000)
    """Number of candidates per generation."""

    num_parents: int = Field(default=10, ge=1, le=10_000)
    """Number of best candidates that are parents."""

    num_mutation: int = Field(default=25, ge=0, le=10_000)
    """Number of mutated children per generation."""

    num_crossover: int = Field(default=25, ge=0, le=10_000)
    """Number of crossed children per generation; the rest is random."""

    gene_mutation_probability: float = Field(default=0.1, ge=0, le=1)
    """Probability that a gene of a mutated child changes."""

    @model_validator(mode="after")
    def _fits(self) -> SposEvolutionSettings:
        if self.num_mutation + self.num_crossover > self.population_size:
            raise ValueError(
                f"num_mutation + num_crossover is {self.num_mutation + self.num_crossover}: at most population_size, "
                f"{self.population_size}"
            )
        return self

    def check_metrics(self, objectives: Sequence[str], wanted: Set[str]) -> None:
        if len(objectives) != 1:
            raise ValueError("spos_evolution optimises one objective: bound the others as constraints")


class BinnedEvolutionSettings(CheckpointedSettings):
    """AttentiveNAS's evolution: the best candidate of each bin of one objective breeds the next generation.

    Defaults are those of the reference code.
    """

    NO_SHIFTING = ""

    kind: Literal["binned_evolution"] = "binned_evolution"
    """Name of the algorithm; it selects these settings."""

    bin_metric: MetricName = "macs"
    """Objective that is cut into bins."""

    bin_width: float = Field(default=10e6, gt=0)
    """Width of a bin, in the metric's unit."""

    population_size: int = Field(default=512, ge=1, le=100_000)
    """Number of candidates in the initial sample."""

    num_mutation: int = Field(default=128, ge=0, le=100_000)
    """Number of mutated children per generation."""

    num_crossover: int = Field(default=128, ge=0, le=100_000)
    """Number of crossed children per generation."""

    gene_mutation_probability: float = Field(default=0.2, ge=0, le=1)
    """Probability that a gene of a mutated child changes."""

    include_first: bool = True
    """Whether the initial sample starts with every gene's first option, the smallest subnet where options ascend."""

    @model_validator(mode="after")
    def _breeds(self) -> BinnedEvolutionSettings:
        if self.num_mutation + self.num_crossover < 1:
            raise ValueError("num_mutation and num_crossover are both 0: give at least one child per generation")
        return self

    def check_metrics(self, objectives: Sequence[str], wanted: Set[str]) -> None:
        if len(objectives) != 2 or self.bin_metric not in objectives:
            raise ValueError(
                f"binned_evolution optimises two objectives, one of them its bin_metric, {self.bin_metric}"
            )


class PredictorAssistedSettings(CheckpointedSettings):
    """Predictors learned from what has been evaluated, evolution on them, real evaluation of those that add most."""

    NO_SHIFTING = "its predictor would learn accuracies of several versions of the supernet"

    kind: Literal["predictor_assisted"] = "predictor_assisted"
    """Name of the algorithm; it selects these settings."""

    num_initial: int = Field(default=25, ge=3, le=100_000)
    """Number of candidates, drawn so that every choice comes about as often, before predictors are first fitted."""

    num_chosen: int = Field(default=10, ge=1, le=10_000)
    """Number of candidates per generation after that."""

    predictor: PredictorKind = PredictorKind.GAUSSIAN_PROCESS
    """Models of each metric that must be evaluated: linear ones (`ridge`) alone, or Gaussian processes and ensembles of
    trees, among which left-out samples choose."""

    inner_population: int = Field(default=60, ge=2, le=10_000)
    """Number of children per round of evolution on predictions, in spaces too large to predict whole."""

    inner_generations: int = Field(default=15, ge=1, le=10_000)
    """Number of rounds of evolution on predictions, in spaces too large to predict whole."""

    exploration: float = Field(default=1.0, ge=0, le=100)
    """Factor of the predicted standard deviations in the expected gain; 0 believes the means, more explores more."""

    remeasure: bool = later(True)
    """Whether members of the front whose latency was measured to no better than 2 % are measured once more before they
    are believed; at most one measurement for every ten candidates asked goes to that."""


class WarmStartSettings(SpecPart):
    """Architectures that are evaluated first. What becomes of each is reported in the search's progress."""

    architectures: tuple[Any, ...] = Field(default=(), max_length=10_000)
    """Architectures as published names, genotypes, or documents in the space's own form."""

    search: str | None = Field(default=None, min_length=1, max_length=100)
    """Another search over the same space, by its id or in requests its name: its front comes first, then its other
    candidates."""

    measured: bool = False
    """Whether architectures of this space that were measured on the same hardware are taken, newest first."""

    max_candidates: int = Field(default=50, ge=1, le=10_000)
    """Largest number of candidates taken from `search` and from the measurements, each."""

    @model_validator(mode="after")
    def _some_source(self) -> WarmStartSettings:
        if not self.architectures and self.search is None and not self.measured:
            raise ValueError("a warm start needs architectures, a search, or measured: true")
        return self
