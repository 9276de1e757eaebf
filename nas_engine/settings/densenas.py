"""DenseNAS (Fang et al., CVPR 2020): one differentiable search for each cost factor."""

from __future__ import annotations

from collections.abc import Sequence, Set
from enum import Enum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from nas_engine.settings.base import CheckpointedSettings, Identifier, OwnInputs, later
from nas_engine.settings.images import ImageForm
from nas_engine.settings.training import (
    MicroBatch,
    NumProcesses,
    OptimizerSettings,
    Precision,
    Schedule,
    TrainingSettings,
    check_shares,
)

CostFactor = Annotated[float, Field(ge=0, le=1000)]


class Alternation(Enum):
    """Spread of the architecture steps among the weight steps; their number is the same.

    `epochs` is the published code: before each epoch of weight steps a whole pass over the validation images.
    `interleaved` spreads them evenly: a run can be watched, paused and cancelled at any step.
    """

    EPOCHS = "epochs"
    INTERLEAVED = "interleaved"


class CostEstimation(Enum):
    """Formula of the expected cost of the supernet, which the architecture parameters are moved by.

    `chained` weighs a block by how likely a path is to reach it; `local` sums every block's own expected cost (the
    paper's Table 2 compares both).
    """

    CHAINED = "chained"
    LOCAL = "local"


class DerivedFrom(Enum):
    """Moment whose architecture parameters the network is derived from.

    `last`: the end of the search. `best_epoch`: the epoch after which the supernet was best on the validation images,
    as the published code keeps it.
    """

    LAST = "last"
    BEST_EPOCH = "best_epoch"


class DenseNasSettings(CheckpointedSettings, ImageForm):
    """DenseNAS: trains a supernet with architecture parameters, and derives one architecture per cost factor.

    The loss is cross entropy + factor * log(cost) / log(cost_base); a candidate is what the parameters end with.
    """

    kind: Literal["densenas"] = "densenas"
    """Name of the algorithm; it selects these settings."""

    cost_factors: tuple[CostFactor, ...] = Field(default=(0.15,), min_length=1, max_length=100)
    """Lambda of each run (published: 0.15 for latency, 0.2 for MACs); 0 searches for accuracy alone."""

    cost_base: float = Field(default=15.0, gt=1)
    """Tau, in the unit of the cost: milliseconds with a latency table, as published, else millions of MACs."""

    latency_table: str | None = Field(default=None, min_length=1, max_length=100)
    """Id of a completed latency table of this space; absent: the cost is MACs."""

    cost_table: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = later(None)
    """SHA-256 of an imported table of costs of this space, in place of `latency_table`: the paper's, or one's own;
    `hilnas tables import` makes one and says it."""

    cost_estimation: CostEstimation = later(CostEstimation.CHAINED)
    """Formula of the expected cost: the paper's chained one, or the local one that it is compared with."""

    derived_from: DerivedFrom = later(DerivedFrom.LAST)
    """Moment whose architecture parameters the network is derived from."""

    first_validated_epoch: int | None = later(None, ge=0, le=100_000)
    """With `best_epoch`: number of epochs before the supernet is looked at (published code: 120 of 150 for MobileNetV2,
    50 of 70 for ResNet); absent: `first_architecture_epoch`."""

    dataset: Identifier
    """Registered data set: its training images move the weights, its validation images the architecture parameters."""

    epochs: int = Field(default=150, ge=1, le=100_000)
    """Number of passes of weight steps over the training images."""

    first_architecture_epoch: int = Field(default=50, ge=0, le=100_000)
    """Number of epochs before the architecture parameters move (published: 50 of 150 for MobileNetV2, 10 of 70 for
    ResNet); operators are sampled uniformly until then."""

    batch_size: int = Field(default=352, ge=1, le=65_536)
    """Number of images per step."""

    micro_batch: MicroBatch | None = later(None)
    """Number of images that pass through the supernet at once, in both kinds of steps, and that batch normalisation
    takes its statistics over (published: 88, the part of each of four GPUs); `auto`: the largest that fits the device's
    memory; absent: the whole batch."""

    num_processes: NumProcesses = later(1)
    """Number of processes that search together on the worker's host, each on its part of every batch, of both kinds of
    steps; on CUDA each has a GPU of its own (published: 4). `gpus`: one for each GPU of the worker."""

    learning_rate: float = Field(default=0.2, gt=0, le=100)
    """Learning rate of the weights at the start of a cosine."""

    final_learning_rate: float = Field(default=1e-4, ge=0, le=100)
    """Learning rate of the weights at the end of the cosine."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of the weights."""

    weight_decay: float = Field(default=4e-5, ge=0, le=1)
    """L2 penalty of all weights, biases and batch normalisation included."""

    architecture_learning_rate: float = Field(default=3e-4, gt=0, le=100)
    """Learning rate of the architecture parameters (Adam, constant)."""

    architecture_weight_decay: float = Field(default=1e-3, ge=0, le=1)
    """L2 penalty of the architecture parameters."""

    beta_temperature: float = Field(default=1.0, gt=0, le=100)
    """Temperature of the softmax over a block's outgoing edges (published: 1 for MobileNetV2, 0.9 for ResNet)."""

    regularise_skips: bool = False
    """Whether a skip costs a tenth of its layer's first operator, against a collapse to skips."""

    alternation: Alternation = Alternation.INTERLEAVED
    """Spread of the architecture steps: evenly, or, as published, a pass of them before each epoch."""

    augmentation: Literal["none", "inception"] = "inception"
    """Augmentation of the training images (published: `inception`, random resized crop and flip)."""

    augment_architecture_images: bool = later(True)
    """Whether the images of architecture steps are augmented like training images; the published code takes them as
    they are validated."""

    precision: Precision = later(Precision.AUTO)
    """Arithmetic of weight steps; architecture steps are float32 always."""

    checkpoint_every_steps: int = Field(default=500, ge=1)
    """Number of weight steps between resumable checkpoints."""

    operators_per_weight_step: int = later(1, ge=1, le=1000)
    """Number of operators sampled in every layer of a weight step (published: 1)."""

    operators_per_architecture_step: int = later(2, ge=1, le=1000)
    """Number of operators sampled in every layer of an architecture step (published: 2)."""

    synchronised_norm: bool = later(False)
    """Whether batch normalisation takes its statistics over all processes, where several search together."""

    collapse_threshold: float = later(0.9, gt=0.5, le=1)
    """Share of layers with one kind of operator from which a search is reported as collapsed."""

    def weight_training(self, seed: int) -> TrainingSettings:
        """The training of the weights that these fields describe: all weights are decayed, and the cosine ends above 0
        (supplementary A.1 and A.4)."""
        same = {
            *("epochs", "batch_size", "synchronised_norm", "checkpoint_every_steps", "augmentation"),
            *("interpolation", "normalisation", "precision", "micro_batch", "num_processes"),
        }
        optimizer = OptimizerSettings(
            **self.model_dump(include={"learning_rate", "momentum", "weight_decay"}),
            decay_all=True,
            schedule=Schedule.COSINE,
            final_share=self.final_learning_rate / self.learning_rate,
        )
        return TrainingSettings(**self.model_dump(include=same), seed=seed, optimizer=optimizer)

    def inputs(self) -> OwnInputs:
        return OwnInputs(
            dataset=self.dataset,
            batch_size=self.batch_size,
            latency_table=self.latency_table,
            cost_table=self.cost_table,
        )

    def check_metrics(self, objectives: Sequence[str], wanted: Set[str]) -> None:
        if "top1" in wanted:
            raise ValueError("densenas does not evaluate top1: retrain what it derives")

    @model_validator(mode="after")
    def _consistent(self) -> DenseNasSettings:
        if self.final_learning_rate >= self.learning_rate:
            raise ValueError(
                f"final_learning_rate {self.final_learning_rate} is not below learning_rate {self.learning_rate}"
            )
        check_shares(
            self.batch_size, self.num_processes, self.micro_batch, synchronised_norm=self.synchronised_norm
        )  # fmt: skip
        if self.first_architecture_epoch >= self.epochs:
            raise ValueError(
                f"first_architecture_epoch {self.first_architecture_epoch} of {self.epochs} epochs: the architecture "
                "parameters would never move"
            )
        if self.latency_table is not None and self.cost_table is not None:
            raise ValueError("latency_table and cost_table are both given: a network is paid for by one of them")
        first = self.first_validated_epoch
        if first is not None and self.derived_from is DerivedFrom.LAST:
            raise ValueError("first_validated_epoch goes with derived_from: best_epoch")
        if first is not None and not self.first_architecture_epoch <= first < self.epochs:
            raise ValueError(
                f"first_validated_epoch is {first}: it must lie from first_architecture_epoch, "
                f"{self.first_architecture_epoch}, below epochs, {self.epochs}"
            )
        return self

    @property
    def pays_latency(self) -> bool:
        """Whether networks are paid for in milliseconds; else in millions of MACs."""
        return self.latency_table is not None or self.cost_table is not None
