"""Search algorithms as a spec names them; defaults are the papers'."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nas_engine.settings.base import Identifier, MetricName, SpecPart


class RandomAlgorithm(SpecPart):
    """Random search without repetition."""

    kind: Literal["random"] = "random"

    batch_size: int = Field(default=20, ge=1, le=10_000)
    """Candidates asked at once."""


class Nsga2Algorithm(SpecPart):
    """NSGA-II (Deb et al. 2002) on the space's integer encoding."""

    kind: Literal["nsga2"] = "nsga2"

    population_size: int = Field(default=20, ge=2, le=10_000)
    """Survivors per generation, and size of the initial sample."""

    num_offspring: int | None = Field(default=None, ge=1, le=10_000)
    """Candidates per generation; absent: as many as survive."""

    crossover_probability: float = Field(default=0.9, ge=0, le=1)
    """Of crossing a pair of parents at all."""

    block_probability: float = Field(default=0.5, ge=0, le=1)
    """Of exchanging whole stages instead of single genes."""

    mutation_probability: float = Field(default=1.0, ge=0, le=1)
    """Of mutating a child."""

    structural_probability: float = Field(default=0.3, ge=0, le=1)
    """Of a mutation changing a structural gene (depth, resolution), where the space has one."""

    mean_leaves: float = Field(default=1.0, ge=0, le=1000)
    """Mean number of leaf genes a mutation changes (at least one is)."""

    constraint_handling: Literal["feasibility_first", "reject"] = "feasibility_first"
    """Told candidates that violate a constraint stand behind all others, or never enter the population."""


class ScarletNsga2Algorithm(SpecPart):
    """SCARLET-NAS's constrained, weighted NSGA-II (Algorithm 1; mutation probabilities of Table 1).

    Cheap constraints are checked before anything is evaluated; a candidate that misses another constraint never
    enters the population. Objective weights weigh the crowding distance.
    """

    kind: Literal["scarlet_nsga2"] = "scarlet_nsga2"

    population_size: int = Field(default=70, ge=2, le=10_000)
    """Survivors per generation."""

    mutation_ratio: float = Field(default=0.8, ge=0, le=1)
    """Share of children that are mutated."""

    p_random: float = Field(default=0.2, ge=0, le=1)
    """Of a mutation: natural, by chance."""

    p_reinforced: float = Field(default=0.65, ge=0, le=1)
    """Of a mutation: by what the search has learned."""

    p_prior: float = Field(default=0.15, ge=0, le=1)
    """Of a mutation: by prior knowledge."""

    p_known: float = Field(default=0.7, ge=0, le=1)
    """Of a guided mutation: by an objective that is known without evaluating."""

    max_rejections: int | None = Field(default=None, ge=1)
    """Candidates of one generation that may violate a constraint before it is reported as unmeetable."""

    num_models: int | None = Field(default=None, ge=1, le=1000)
    """Models picked at the end, equally spaced along the front; absent: the whole front."""

    @model_validator(mode="after")
    def _adds_up(self) -> ScarletNsga2Algorithm:
        total = self.p_random + self.p_reinforced + self.p_prior
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"p_random + p_reinforced + p_prior is {total}: they must add up to 1")
        return self


class SposEvolutionAlgorithm(SpecPart):
    """SPOS's evolution for one objective: the best candidates so far are mutated and crossed."""

    kind: Literal["spos_evolution"] = "spos_evolution"

    population_size: int = Field(default=50, ge=1, le=10_000)
    """Candidates per generation."""

    num_parents: int = Field(default=10, ge=1, le=10_000)
    """Best candidates that are parents."""

    num_mutation: int = Field(default=25, ge=0, le=10_000)
    """Mutated children per generation."""

    num_crossover: int = Field(default=25, ge=0, le=10_000)
    """Crossed children per generation; the rest is random."""

    gene_mutation_probability: float = Field(default=0.1, ge=0, le=1)
    """Per gene of a mutated child."""

    @model_validator(mode="after")
    def _fits(self) -> SposEvolutionAlgorithm:
        if self.num_mutation + self.num_crossover > self.population_size:
            raise ValueError(
                f"num_mutation + num_crossover is {self.num_mutation + self.num_crossover}: at most population_size, "
                f"{self.population_size}"
            )
        return self


class BinnedEvolutionAlgorithm(SpecPart):
    """AttentiveNAS's evolution: the best candidate of each bin of one objective breeds the next generation."""

    kind: Literal["binned_evolution"] = "binned_evolution"

    bin_metric: MetricName = "macs"
    """Objective that is cut into bins."""

    bin_width: float = Field(default=10e6, gt=0)
    """Width of a bin, in the metric's unit."""

    population_size: int = Field(default=512, ge=1, le=100_000)
    """Initial sample."""

    num_mutation: int = Field(default=128, ge=0, le=100_000)
    """Mutated children per generation."""

    num_crossover: int = Field(default=128, ge=0, le=100_000)
    """Crossed children per generation."""

    gene_mutation_probability: float = Field(default=0.2, ge=0, le=1)
    """Per gene of a mutated child."""

    include_first: bool = True
    """Start with every gene's first option."""

    @model_validator(mode="after")
    def _breeds(self) -> BinnedEvolutionAlgorithm:
        if self.num_mutation + self.num_crossover < 1:
            raise ValueError("num_mutation and num_crossover are both 0: give at least one child per generation")
        return self


class PredictorAssistedAlgorithm(SpecPart):
    """Predictors learned from what has been evaluated, an inner NSGA-II on them, real evaluation of the chosen few."""

    kind: Literal["predictor_assisted"] = "predictor_assisted"

    num_initial: int = Field(default=25, ge=3, le=100_000)
    """Random candidates before predictors are first fitted."""

    num_chosen: int = Field(default=10, ge=1, le=10_000)
    """Candidates per generation after that."""

    predictor: Literal["gaussian_process", "ridge"] = "gaussian_process"
    """Model of each metric that must be evaluated."""

    inner_population: int = Field(default=60, ge=2, le=10_000)
    """Population of the inner NSGA-II."""

    inner_generations: int = Field(default=15, ge=1, le=10_000)
    """Its generations."""

    exploration: float = Field(default=1.0, ge=0, le=100)
    """Standard deviations of optimism when candidates are chosen."""


CostFactor = Annotated[float, Field(ge=0, le=1000)]


class DenseNasAlgorithm(SpecPart):
    """DenseNAS: trains a supernet with architecture parameters, and derives one architecture per cost factor.

    The loss is cross entropy + factor * log(cost) / log(cost_base); a candidate is what the parameters end with.
    """

    kind: Literal["densenas"] = "densenas"

    cost_factors: tuple[CostFactor, ...] = Field(default=(0.15,), min_length=1, max_length=100)
    """Lambda of each run (published: 0.15 for latency, 0.2 for MACs)."""

    cost_base: float = Field(default=15.0, gt=1)
    """Tau, in the unit of the cost: milliseconds with a latency table, as published, else millions of MACs."""

    latency_table: str | None = Field(default=None, min_length=1, max_length=100)
    """Id of a completed latency table of this space; absent: the cost is MACs."""

    dataset: Identifier
    """Training images move the weights, validation images the architecture parameters."""

    epochs: int = Field(default=150, ge=1, le=100_000)
    """Of weight steps."""

    first_architecture_epoch: int = Field(default=50, ge=0, le=100_000)
    """Epochs before the architecture parameters move."""

    batch_size: int = Field(default=352, ge=1, le=65_536)
    """Images per step."""

    learning_rate: float = Field(default=0.2, gt=0, le=100)
    """Of the weights, at the start of a cosine."""

    final_learning_rate: float = Field(default=1e-4, ge=0, le=100)
    """At its end."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of the weights."""

    weight_decay: float = Field(default=4e-5, ge=0, le=1)
    """Of all weights."""

    architecture_learning_rate: float = Field(default=3e-4, gt=0, le=100)
    """Of the architecture parameters (Adam, constant)."""

    architecture_weight_decay: float = Field(default=1e-3, ge=0, le=1)
    """Of the architecture parameters."""

    beta_temperature: float = Field(default=1.0, gt=0, le=100)
    """Of the softmax over a block's outgoing edges (published: 1 for MobileNetV2, 0.9 for ResNet)."""

    regularise_skips: bool = False
    """Let a skip cost a tenth of its layer's first operator, against a collapse to skips."""

    alternation: Literal["interleaved", "epochs"] = "interleaved"
    """`interleaved` spreads architecture steps evenly; `epochs`, as published: a pass of them before each epoch."""

    augmentation: Literal["none", "inception"] = "inception"
    """`inception`: random resized crop and flip."""

    checkpoint_every_steps: int = Field(default=500, ge=1)
    """Weight steps between resumable checkpoints."""

    @model_validator(mode="after")
    def _consistent(self) -> DenseNasAlgorithm:
        if self.final_learning_rate >= self.learning_rate:
            raise ValueError(
                f"final_learning_rate {self.final_learning_rate} is not below learning_rate {self.learning_rate}"
            )
        if self.first_architecture_epoch >= self.epochs:
            raise ValueError(
                f"first_architecture_epoch {self.first_architecture_epoch} of {self.epochs} epochs: the architecture "
                "parameters would never move"
            )
        return self


class CostReportAlgorithm(SpecPart):
    """Sampled networks that are measured end to end, to compare with what a latency table says of them.

    `POST /api/v1/latency-tables/{id}/reports` makes such searches. Networks of a DenseNAS space are derived from random
    architecture parameters; those of other spaces are drawn uniformly.
    """

    kind: Literal["cost_report"] = "cost_report"

    latency_table: str = Field(min_length=1, max_length=100)
    """Id of a completed latency table of this space."""

    logit_std: float = Field(default=1.0, gt=0, le=1000)
    """Standard deviation of the architecture parameters: the larger, the more decided they are."""


AlgorithmSpec = Annotated[
    Nsga2Algorithm
    | RandomAlgorithm
    | ScarletNsga2Algorithm
    | SposEvolutionAlgorithm
    | BinnedEvolutionAlgorithm
    | PredictorAssistedAlgorithm
    | DenseNasAlgorithm
    | CostReportAlgorithm,
    Field(discriminator="kind"),
]


class WarmStartSpec(SpecPart):
    """Architectures that are evaluated first. What becomes of each is reported in the search's progress."""

    architectures: tuple[Any, ...] = Field(default=(), max_length=10_000)
    """Published names, genotypes, or architectures in the space's own form."""

    search: str | None = Field(default=None, min_length=1, max_length=100)
    """Id of another search over the same space: its front comes first, then its other candidates."""

    measured: bool = False
    """Take architectures of this space that were measured on the same hardware, newest first."""

    max_candidates: int = Field(default=50, ge=1, le=10_000)
    """Most that are taken from `search` and from the measurements, each."""

    @model_validator(mode="after")
    def _some_source(self) -> WarmStartSpec:
        if not self.architectures and self.search is None and not self.measured:
            raise ValueError("a warm start needs architectures, a search, or measured: true")
        return self


class ShiftingSpec(SpecPart):
    """Supernet shifting: the search itself moves the shared weights towards the architectures it samples.

    Each batch of candidates ends with a new version of the supernet; the candidates and the survivors they are compared
    with are scored with that version, so that accuracies of different versions are never compared.
    """

    mode: Literal["accumulate", "immediate"] = "accumulate"
    """`accumulate`: losses of a generation add up to one update. `immediate`: steps on one candidate after another."""

    learning_rate: float = Field(default=1e-4, gt=0, le=10)
    """Constant."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Lives across generations."""

    weight_decay: float = Field(default=4e-5, ge=0, le=1)
    """L2 penalty."""

    images_per_candidate: int = Field(default=640, ge=1, le=10_000_000)
    """Training images of a candidate's loss (`accumulate`); a multiple of `batch_size`."""

    steps_per_candidate: int = Field(default=20, ge=1, le=100_000)
    """Update steps on a candidate (`immediate`)."""

    batch_size: int = Field(default=128, ge=1, le=65_536)
    """Images per forward pass."""

    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target given to all classes alike."""

    compare: Literal["last_version", "immediate"] = "last_version"
    """What counts of a candidate (`immediate` mode): its accuracy with the last version of its batch, or, as in the
    released code, the one taken right after it was trained. Such accuracies cross versions, which the report says."""

    new_head: bool = False
    """Transfer to a data set with other classes: a new classifier is drawn, and trained by the search."""

    @model_validator(mode="after")
    def _whole_batches(self) -> ShiftingSpec:
        if self.mode == "accumulate" and self.images_per_candidate % self.batch_size:
            raise ValueError(
                f"images_per_candidate {self.images_per_candidate} is no multiple of batch_size {self.batch_size}"
            )
        if self.mode == "accumulate" and self.compare == "immediate":
            raise ValueError("compare: immediate goes with mode immediate: in accumulate there is one accuracy")
        return self
