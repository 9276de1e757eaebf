"""The training spec: the one document that describes how a supernet is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from server.service.spec_parts import Identifier, Labels, Name, Seed, SpaceSpec, SpecPart


class UniformStrategy(SpecPart):
    """Single-path uniform sampling (SPOS): every choice of every block with the same probability."""

    kind: Literal["uniform"] = "uniform"


class FlopsBinnedStrategy(SpecPart):
    """SPOS's MACs-binned sampling: draw one of seven bins, then an architecture whose MACs lie in it.

    Bins are the published ones (290M to 360M) for the published space, and quantiles of the space elsewhere.
    """

    kind: Literal["flops_binned"] = "flops_binned"


StrategySpec = Annotated[UniformStrategy | FlopsBinnedStrategy, Field(discriminator="kind")]


class OptimizerSpec(SpecPart):
    """SGD with momentum; weight decay only on the weights the reference decays."""

    learning_rate: float = Field(default=0.5, gt=0, le=100)
    """Initial learning rate (SPOS: 0.5 for batches of 1024)."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum."""

    weight_decay: float = Field(default=4e-5, ge=0, le=1)
    """L2 penalty (SPOS: 4e-5)."""

    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls to zero."""

    gradient_clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; absent: not clipped."""


class TrainingSpec(SpecPart):
    """How a supernet is trained. `POST /api/v1/supernets` takes it, and a search spec may hold it inline."""

    name: Name = "supernet"
    """For people."""

    space: SpaceSpec
    """Whose supernet."""

    dataset: Identifier
    """Registered data set; GET /api/v1/datasets lists them."""

    strategy: StrategySpec = Field(default_factory=UniformStrategy)
    """Which subnets a step trains."""

    optimizer: OptimizerSpec = Field(default_factory=OptimizerSpec)
    """How weights are updated."""

    epochs: int | None = Field(default=None, ge=1, le=100_000)
    """Passes over the training images; give this or `iterations`."""

    iterations: int | None = Field(default=None, ge=1, le=100_000_000)
    """Update steps; give this or `epochs`."""

    batch_size: int = Field(default=256, ge=1, le=65_536)
    """Images per step."""

    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of the target given to all classes alike."""

    augmentation: Literal["none", "light", "imagenet"] = "light"
    """`none`; `light`: shift and flip; `imagenet`: random resized crop, flip, colour."""

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
    """CPU threads; absent: the worker's own setting."""

    labels: Labels = Field(default_factory=dict)
    """For people and filters."""

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSpec:
        if (self.epochs is None) is (self.iterations is None):
            raise ValueError("give exactly one of epochs and iterations")
        return self
