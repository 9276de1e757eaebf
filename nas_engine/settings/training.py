"""The specs of trainings: of a supernet, and of one network by itself."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from nas_engine.settings.base import Identifier, Labels, Name, Seed, SpaceSpec, SpecPart, later
from nas_engine.settings.images import ImageForm
from nas_engine.settings.strategies import NetworkSettings, RetrainSettings, StrategySettings, UniformSettings


class OptimizerKind(Enum):
    """Update rule: stochastic gradient descent with momentum, or AdamW."""

    SGD = "sgd"
    ADAMW = "adamw"


class Schedule(Enum):
    """Shape of the learning rate over a run: linear to 0 (SPOS), half a cosine (AlphaNet), or constant."""

    LINEAR = "linear"
    COSINE = "cosine"
    CONSTANT = "constant"


class Precision(Enum):
    """Arithmetic of forward passes.

    `mixed` is for CUDA: bfloat16 where the GPU has it, else float16 with loss scaling. `auto` is `mixed` on CUDA and
    `float32` on the CPU, where bfloat16 depthwise convolutions are slower.
    """

    FLOAT32 = "float32"
    MIXED = "mixed"
    AUTO = "auto"


class AugmentationName(Enum):
    """Augmentation of training images.

    `light`: shift and flip; `inception`: random resized crop and flip; `imagenet`: these and colour jitter (0.4 of
    brightness, contrast and saturation in random order, as SPOS); `autoaugment`: these and AutoAugment's policy v0, as
    AttentiveNAS has it.
    """

    NONE = "none"
    LIGHT = "light"
    INCEPTION = "inception"
    IMAGENET = "imagenet"
    AUTOAUGMENT = "autoaugment"


TorchDevice = Literal["auto", "cpu", "cuda"]


class OptimizerSettings(SpecPart):
    """Update rule; weight decay only on the weights the reference decays."""

    kind: OptimizerKind = OptimizerKind.SGD
    """Name of the update rule: `sgd` is stochastic gradient descent with momentum."""

    learning_rate: float = Field(default=0.5, gt=0, le=100)
    """Initial learning rate (SPOS: 0.5 for batches of 1024)."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum; of AdamW, its first beta."""

    nesterov: bool = False
    """Whether the momentum is Nesterov's (AlphaNet)."""

    weight_decay: float = Field(default=4e-5, ge=0, le=1)
    """L2 penalty of convolutions and the classifier (SPOS: 4e-5)."""

    decay_all: bool = False
    """Whether biases and batch normalisation are decayed too (DenseNAS)."""

    schedule: Schedule = Schedule.LINEAR
    """Shape of the learning rate over the run."""

    warmup_steps: int = Field(default=0, ge=0, le=100_000_000)
    """Number of steps over which the learning rate rises from a thousandth; the decay runs on meanwhile (AlphaNet)."""

    warmup_epochs: int | None = later(None, ge=1, le=100_000)
    """The same as a number of passes over the training images, in place of `warmup_steps`; for trainings whose length
    is given in `epochs`."""

    final_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the initial learning rate that a cosine ends at (DenseNAS: 1e-4 of 0.2; SPOS, AlphaNet: 0)."""

    gradient_clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; absent: not clipped."""

    gradient_clip_value: float | None = Field(default=None, gt=0)
    """Largest magnitude of each element of the gradient (AlphaNet: 1); absent: not clipped."""

    @model_validator(mode="after")
    def _cosine_ends(self) -> OptimizerSettings:
        if self.final_share and self.schedule is not Schedule.COSINE:
            raise ValueError(f"final_share is for the cosine, the schedule is {self.schedule.value}")
        if self.warmup_epochs is not None and self.warmup_steps:
            raise ValueError("warmup_steps and warmup_epochs say the same: give one of them")
        return self


MicroBatch = Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"]
NumProcesses = Annotated[int, Field(ge=1, le=256)] | Literal["gpus"]


def check_shares(
    batch_size: int, num_processes: NumProcesses, micro_batch: MicroBatch | None, *, synchronised_norm: bool
) -> None:
    """Refuse a batch that does not divide over its processes, or a process's part over its passes.

    Raises:
        ValueError: which does not, and what to change.
    """
    known = num_processes if isinstance(num_processes, int) else 1  # how many GPUs there are is seen on the worker
    if batch_size % known:
        raise ValueError(f"batch_size {batch_size} does not divide over {known} processes")
    if not isinstance(micro_batch, int):
        return
    if batch_size // known % micro_batch:
        raise ValueError(
            f"micro_batch {micro_batch} does not divide the {batch_size // known} images of a process: choose one that "
            "does, or change batch_size"
        )
    if synchronised_norm and micro_batch < batch_size // known:
        raise ValueError("synchronised_norm takes statistics over the whole batch, micro_batch over its parts")


class TrainingSettings(ImageForm):
    """Settings of every training: of a supernet, or of one stand-alone network."""

    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings)
    """Update rule and learning rate."""

    epochs: int | None = Field(default=None, ge=1, le=100_000)
    """Number of passes over the training images; give this or `iterations`."""

    iterations: int | None = Field(default=None, ge=1, le=100_000_000)
    """Number of update steps; give this or `epochs`."""

    batch_size: int = Field(default=256, ge=1, le=65_536)
    """Number of images per step, of all processes together."""

    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target given to all classes alike."""

    augmentation: AugmentationName = AugmentationName.LIGHT
    """Augmentation of the training images. `light`: shift and flip; `inception`: random resized crop and flip;
    `imagenet`: these and SPOS's colour jitter; `autoaugment`: these and AutoAugment's policy v0."""

    resolution: int | None = Field(default=None, ge=8, le=1024)
    """Side of the training images, pixels; absent: the space's input."""

    max_train_images: int | None = Field(default=None, ge=1)
    """Number of training images used; absent: all."""

    checkpoint_every_steps: int = Field(default=500, ge=1)
    """Number of steps between resumable checkpoints."""

    report_every_steps: int | None = later(None, ge=1)
    """Number of steps between reports of progress, each a point of the loss curve; absent: a hundredth of the run."""

    precision: Precision = later(Precision.AUTO)
    """Arithmetic of forward passes."""

    seed: Seed = 0
    """Seed of the weights, of the order of images and of the architectures drawn."""

    device: TorchDevice = "auto"
    """Device that trains; `auto`: the worker's own."""

    num_threads: int | None = Field(default=None, ge=1, le=1024)
    """Number of CPU threads of each process; absent: the worker's own setting, shared out over the processes."""

    num_processes: NumProcesses = 1
    """Number of processes that train together on the worker's host, each on its part of every batch; on CUDA each has
    a GPU of its own. `gpus`: one for each GPU of the worker."""

    micro_batch: MicroBatch | None = later(None)
    """Number of images that pass through the network at once, and that batch normalisation takes its statistics over;
    the gradients of a step's micro-batches are averaged, as those of as many processes would be. `auto`: the largest
    that fits the device's memory. Absent: a process's whole part of the batch."""

    synchronised_norm: bool = False
    """Whether batch normalisation takes its statistics over all processes, so that N of them equal one; off, as in the
    papers, each takes its own."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) is (self.iterations is None):
            raise ValueError("give exactly one of epochs and iterations")
        if self.optimizer.warmup_epochs is not None and self.epochs is None:
            raise ValueError("optimizer.warmup_epochs goes with epochs: with iterations give warmup_steps")
        check_shares(
            self.batch_size, self.num_processes, self.micro_batch, synchronised_norm=self.synchronised_norm
        )  # fmt: skip
        if self.max_train_images is not None and self.batch_size > self.max_train_images:
            raise ValueError(
                f"batch_size {self.batch_size} is above max_train_images {self.max_train_images}: lower it"
            )
        return self

    def num_steps(self, num_images: int) -> int:
        """Return the number of update steps on a data set of `num_images` training images."""
        return self.iterations or (self.epochs or 1) * self._steps_per_epoch(num_images)

    def optimizer_on(self, num_images: int) -> OptimizerSettings:
        """Return the update rule on so many training images: a warm-up of epochs is one of steps."""
        epochs = self.optimizer.warmup_epochs
        if epochs is None:
            return self.optimizer
        steps = epochs * self._steps_per_epoch(num_images)
        return self.optimizer.model_copy(update={"warmup_epochs": None, "warmup_steps": steps})

    def _steps_per_epoch(self, num_images: int) -> int:
        return max(num_images // self.batch_size, 1)


class TrainingSpec(TrainingSettings):
    """Training of a supernet. `POST /api/v1/supernets` takes it, and a search spec may hold it inline."""

    name: Name = "supernet"
    """Name of the supernet for people, shown in lists."""

    space: SpaceSpec
    """Search space whose supernet is trained."""

    dataset: Identifier
    """Name of the registered data set that it is trained on; GET /api/v1/datasets lists them."""

    strategy: StrategySettings = Field(default_factory=UniformSettings)
    """Rule by which a step chooses the subnets it trains."""

    labels: Labels = Field(default_factory=dict)
    """Labels of the supernet by name, for people and filters."""


class NetworkSpec(TrainingSettings, NetworkSettings):
    """Training of one network by itself. `POST /api/v1/networks` takes it.

    `POST /api/v1/supernets` takes it too, as clients of the first release send it: what is trained is a network all
    the same.
    """

    name: Name = "network"
    """Name of the network for people, shown in lists."""

    space: SpaceSpec
    """Search space that the network's architecture is of."""

    dataset: Identifier
    """Name of the registered data set that it is trained on; GET /api/v1/datasets lists them."""

    strategy: RetrainSettings | None = later(None)
    """Architecture and what is said of it beside, as clients of the first release write them; today they stand in the
    spec itself."""

    labels: Labels = Field(default_factory=dict)
    """Labels of the network by name, for people and filters."""

    @model_validator(mode="after")
    def _in_its_own_words(self) -> Self:
        if self.strategy is None:
            return self
        twice = sorted(self.strategy.model_fields_set & self.model_fields_set & NetworkSettings.model_fields.keys())
        if twice:
            raise ValueError(f"{', '.join(twice)} is given here and in strategy: leave strategy out")
        given = {name: getattr(self.strategy, name) for name in self.strategy.model_fields_set - {"kind"}}
        self.__dict__.update({**given, "strategy": None})
        self.__pydantic_fields_set__.update(given)
        self.__pydantic_fields_set__.discard("strategy")
        return self

    @property
    def as_first_written(self) -> NetworkSpec:
        """The same for clients of the first release: written, it is a supernet's spec with the strategy `retrain`."""
        return _FirstWritten.model_construct(self.model_fields_set, **dict(self))

    @model_serializer(mode="wrap")
    def _written(self, written: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # it would be the schema
        document = written(self)
        if not isinstance(self, _FirstWritten):
            return document
        strategy = {name: document.pop(name) for name in NetworkSettings.model_fields if name in document}
        return {**document, "strategy": {"kind": "retrain", **strategy}}


class _FirstWritten(NetworkSpec):
    """A network's spec that is written as the first release wrote it."""


def trains_network(document: Any) -> bool:
    """Whether a spec, or its document, is of a network's training, not of a supernet's."""
    match document:
        case NetworkSpec() | {"strategy": {"kind": "retrain"} | RetrainSettings()}:
            return True
        case Mapping():
            return document.get("strategy") is None and not NetworkSettings.model_fields.keys().isdisjoint(document)
        case _:
            return False


AnyTrainingSpec = Annotated[
    Annotated[TrainingSpec, Tag("supernet")] | Annotated[NetworkSpec, Tag("network")],
    Discriminator(lambda value: "network" if trains_network(value) else "supernet"),
]
"""Whichever of both a document describes."""
