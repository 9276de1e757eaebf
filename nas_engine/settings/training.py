"""The training spec: the one document that describes how a supernet is trained."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from nas_engine.settings.base import Identifier, Labels, Name, Seed, SpaceSpec, SpecPart


class UniformStrategy(SpecPart):
    """Single-path uniform sampling (SPOS): every choice of every block with the same probability."""

    kind: Literal["uniform"] = "uniform"


class MacsBinnedSettings(SpecPart):
    """SPOS's MACs-binned sampling: draw one of seven bins, then an architecture whose MACs lie in it.

    Bins are the published ones (290M to 360M) for the published space, and quantiles of the space elsewhere.
    """

    kind: Literal["flops_binned"] = "flops_binned"


class FairStrategy(SpecPart):
    """Strict fairness (FairNAS, SCARLET): every choice of every layer is trained exactly once per update."""

    kind: Literal["fair"] = "fair"


class SandwichStrategy(SpecPart):
    """The sandwich rule (AttentiveNAS, AlphaNet): the largest subnet teaches random ones and the smallest."""

    kind: Literal["sandwich"] = "sandwich"

    num_random: int = Field(default=2, ge=0, le=64)
    """Random subnets per update."""

    distillation: Literal["adaptive-alpha", "fixed-alpha", "soft-targets", "kl"] = "adaptive-alpha"
    """`adaptive-alpha`: AlphaNet. `fixed-alpha`: one divergence. `soft-targets`: cross entropy with the teacher alone
    (what the published code runs as KL). `kl`: Eq. 7-8 of the supplementary text, with labels."""

    alpha_min: float = Field(default=-1.0, ge=-10, le=10)
    """Of the adaptive divergence."""

    alpha_max: float = Field(default=1.0, ge=-10, le=10)
    """Of the adaptive divergence."""

    clip: float = Field(default=5.0, gt=0, le=1000)
    """Largest importance weight of a divergence."""

    alpha: float = Field(default=1.0, ge=-10, le=10)
    """Of the fixed divergence."""

    temperature: float = Field(default=1.0, gt=0, le=100)
    """Of soft targets and KL."""

    beta: float = Field(default=0.9, ge=0, le=1)
    """Weight of the divergence in KL; the rest is cross entropy with the labels."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.alpha_min > self.alpha_max:
            raise ValueError(f"alpha_min {self.alpha_min} is above alpha_max {self.alpha_max}: swap them")
        return self


class StandaloneSettings(SpecPart):
    """What a network that is trained alone needs beyond the settings of every training."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Before the classifier (SPOS: 0.1)."""

    num_calibration_batches: int = Field(default=50, ge=1, le=100_000)
    """Training batches for the final statistics of batch normalisation (SPOS: 1,250)."""


class ModelFiles(SpecPart):
    """Which deployable model files are wanted of a network."""

    formats: Annotated[tuple[Literal["onnx", "rknn"], ...], Field(min_length=1, max_length=2)] = ("onnx",)
    """ONNX is always made; `rknn` waits for a worker that has the converter."""

    rknn_dtype: Literal["fp16", "w8a8"] = "fp16"
    """Arithmetic of the RKNN file; `w8a8` is calibrated with training images of the data set."""

    rknn_target: Literal["rk3562", "rk3566", "rk3568", "rk3576", "rk3588"] = "rk3588"
    """Chip the RKNN file is made for."""

    @property
    def wants_rknn(self) -> bool:
        """Whether a conversion follows."""
        return "rknn" in self.formats


class RetrainSettings(StandaloneSettings, ModelFiles):
    """One architecture alone, as a board runs it; ends with its test accuracy and deployable model files."""

    kind: Literal["retrain"] = "retrain"

    architecture: Any = None
    """A published name, a genotype, or the space's own form. Absent in presets only: without it nothing is launched."""

    inherit_from: str | None = Field(default=None, min_length=1, max_length=100)
    """Supernet version (`supv_...`) whose weights it starts from; absent: from scratch."""


StrategySettings = Annotated[
    UniformStrategy | MacsBinnedSettings | FairStrategy | SandwichStrategy | RetrainSettings,
    Field(discriminator="kind"),
]


class OptimizerSettings(SpecPart):
    """Update rule; weight decay only on the weights the reference decays."""

    kind: Literal["sgd", "adamw"] = "sgd"
    """Stochastic gradient descent with momentum, or AdamW."""

    learning_rate: float = Field(default=0.5, gt=0, le=100)
    """Initial learning rate (SPOS: 0.5 for batches of 1024)."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum; of AdamW, its first beta."""

    nesterov: bool = False
    """Nesterov's momentum."""

    weight_decay: float = Field(default=4e-5, ge=0, le=1)
    """L2 penalty (SPOS: 4e-5)."""

    decay_all: bool = False
    """Decay biases and batch normalisation too (DenseNAS), not only convolutions and the classifier."""

    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls to zero."""

    warmup_steps: int = Field(default=0, ge=0, le=100_000_000)
    """Steps over which it rises first."""

    final_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the initial learning rate that a cosine ends at."""

    gradient_clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; absent: not clipped."""

    gradient_clip_value: float | None = Field(default=None, gt=0)
    """Largest magnitude of each element of the gradient (AlphaNet: 1); absent: not clipped."""

    @model_validator(mode="after")
    def _cosine_ends(self) -> OptimizerSettings:
        if self.final_share and self.schedule != "cosine":
            raise ValueError(f"final_share is for the cosine, the schedule is {self.schedule}")
        return self


class TrainingSettings(SpecPart):
    """How weights are trained, whatever is trained: a supernet, or one network alone."""

    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings)
    """How weights are updated."""

    epochs: int | None = Field(default=None, ge=1, le=100_000)
    """Passes over the training images; give this or `iterations`."""

    iterations: int | None = Field(default=None, ge=1, le=100_000_000)
    """Update steps; give this or `epochs`."""

    batch_size: int = Field(default=256, ge=1, le=65_536)
    """Images per step, of all processes together."""

    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target given to all classes alike."""

    augmentation: Literal["none", "light", "inception", "imagenet", "autoaugment"] = "light"
    """`light`: shift and flip; `inception`: random resized crop and flip; `imagenet`: these and colour;
    `autoaugment`: these and the AutoAugment policy."""

    resolution: int | None = Field(default=None, ge=8, le=1024)
    """Side of the training images, pixels; absent: the space's input."""

    max_train_images: int | None = Field(default=None, ge=1)
    """Use only so many of the training images; absent: all."""

    checkpoint_every_steps: int = Field(default=500, ge=1)
    """Steps between resumable checkpoints."""

    seed: Seed = 0
    """Of weights, order of images and architectures drawn."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train."""

    num_threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads of each process; absent: the worker's own setting, shared out over the processes."""

    num_processes: Annotated[int, Field(ge=1, le=256)] | Literal["gpus"] = 1
    """Processes that train together on the worker's host, each on its part of every batch; on CUDA each has a GPU of
    its own. `gpus`: one for each GPU of the worker."""

    synchronised_norm: bool = False
    """Statistics of batch normalisation over all processes, so that N of them equal one; off, as in the papers, each
    takes its own."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) is (self.iterations is None):
            raise ValueError("give exactly one of epochs and iterations")
        if isinstance(self.num_processes, int) and self.batch_size % self.num_processes:
            raise ValueError(f"batch_size {self.batch_size} does not divide over {self.num_processes} processes")
        if self.max_train_images is not None and self.batch_size > self.max_train_images:
            raise ValueError(
                f"batch_size {self.batch_size} is above max_train_images {self.max_train_images}: lower it"
            )
        return self


class TrainingSpec(TrainingSettings):
    """How a supernet is trained. `POST /api/v1/supernets` takes it, and a search spec may hold it inline."""

    name: Name = "supernet"
    """For people."""

    space: SpaceSpec
    """Whose supernet."""

    dataset: Identifier
    """Registered data set; GET /api/v1/datasets lists them."""

    strategy: StrategySettings = Field(default_factory=UniformStrategy)
    """Which subnets a step trains."""

    labels: Labels = Field(default_factory=dict)
    """For people and filters."""
