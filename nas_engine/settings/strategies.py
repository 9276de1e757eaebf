"""What a step of a training does: how a supernet's subnets are drawn, or what one network starts from and becomes."""

from __future__ import annotations

import itertools
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from nas_engine.settings.base import SpecPart, later


class DistillationKind(Enum):
    """Loss of the students in sandwich training.

    `adaptive-alpha`: AlphaNet. `fixed-alpha`: one divergence. `soft-targets`: cross entropy with the teacher alone
    (what the published code runs as KL). `kl`: Eq. 7-8 of the supplementary text, with labels.
    """

    ADAPTIVE_ALPHA = "adaptive-alpha"
    FIXED_ALPHA = "fixed-alpha"
    SOFT_TARGETS = "soft-targets"
    KULLBACK_LEIBLER = "kl"


class SupernetStrategy(SpecPart):
    """Base of the settings of training strategies; what is checked and planned otherwise for one is said by it."""

    TRAINS_LARGEST: ClassVar[bool] = False
    """Whether each step trains the largest subnet, to which dropout is then left."""

    EQUAL_CHOICES: ClassVar[bool] = False
    """Whether every layer of the space must have as many choices as every other."""


class UniformSettings(SupernetStrategy):
    """Single-path uniform sampling (SPOS): every choice of every block with the same probability."""

    kind: Literal["uniform"] = "uniform"
    """Name of the strategy; it selects these settings."""

    paths_per_step: int = later(1, ge=1, le=1000)
    """Number of single paths whose gradients are averaged in one update (SPOS: 1)."""


class MacsBinnedSettings(SupernetStrategy):
    """SPOS's MACs-binned sampling: draw one of the bins, then an architecture whose MACs lie in it.

    Bins are the published seven (290M to 360M) for SPOS's space, whatever its number of classes, and quantiles of the
    space elsewhere: equally likely bins, which is uniform sampling.
    """

    kind: Literal["flops_binned"] = "flops_binned"
    """Name of the strategy in answers, as clients of the first release read it; `macs_binned` is accepted too."""

    paths_per_step: int = later(1, ge=1, le=1000)
    """Number of single paths whose gradients are averaged in one update (SPOS: 1)."""

    num_bins: int = later(7, ge=1, le=1000)
    """Number of bins (SPOS: 7)."""

    minimum_macs: float | None = later(None, ge=0)
    """Lower end of equally wide bins, in MACs; goes with `maximum_macs`; absent: bins as above."""

    maximum_macs: float | None = later(None, gt=0)
    """Upper end of equally wide bins, in MACs; goes with `minimum_macs`."""

    edges: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=2, max_length=1001)] | None = later(
        None
    )
    """Edges of the bins, in MACs, ascending; instead of the three settings above."""

    @model_validator(mode="after")
    def _edges(self) -> Self:
        if self.edges is None:
            return self
        if any(low >= high for low, high in itertools.pairwise(self.edges)):
            raise ValueError("edges must ascend: each bin ends above where it begins")
        if (self.num_bins, self.minimum_macs, self.maximum_macs) != (7, None, None):
            raise ValueError("edges say all of the bins: leave out num_bins, minimum_macs and maximum_macs")
        return self

    @model_validator(mode="after")
    def _both_ends(self) -> Self:
        if (self.minimum_macs is None) is not (self.maximum_macs is None):
            raise ValueError("minimum_macs and maximum_macs go together: give both or neither")
        if self.minimum_macs is not None and self.maximum_macs is not None and self.minimum_macs >= self.maximum_macs:
            raise ValueError(f"minimum_macs {self.minimum_macs} must be below maximum_macs {self.maximum_macs}")
        return self


class FairSettings(SupernetStrategy):
    """Strict fairness (FairNAS, SCARLET): every choice of every layer is trained exactly once per update."""

    EQUAL_CHOICES = True

    kind: Literal["fair"] = "fair"
    """Name of the strategy; it selects these settings."""


class SandwichSettings(SupernetStrategy):
    """The sandwich rule (AttentiveNAS, AlphaNet): the largest subnet teaches random ones and the smallest.

    It comes without AlphaNet's optimiser, image size and augmentation: those are in the preset `alphanet-imagenet`,
    while the defaults of a training are SPOS's.
    """

    TRAINS_LARGEST = True

    WITHOUT_PRESET: ClassVar[str] = (
        "sandwich names AlphaNet's losses alone: optimiser, image size and augmentation that a spec leaves out are the "
        "defaults of a training, SPOS's; the preset alphanet-imagenet has the published ones"
    )
    """What is said to who launches it without its preset."""

    kind: Literal["sandwich"] = "sandwich"
    """Name of the strategy; it selects these settings."""

    num_random: int = Field(default=2, ge=0, le=64)
    """Number of random subnets per update, beside the largest and the smallest (AlphaNet: 2)."""

    distillation: DistillationKind = DistillationKind.ADAPTIVE_ALPHA
    """Loss of all subnets but the largest. `adaptive-alpha`: AlphaNet. `fixed-alpha`: one divergence. `soft-targets`:
    cross entropy with the teacher alone (what the published code runs as KL). `kl`: Eq. 7-8 of the supplementary text,
    with labels."""

    alpha_min: float = Field(default=-1.0, ge=-10, le=10)
    """Smaller alpha of the adaptive divergence (AlphaNet: -1)."""

    alpha_max: float = Field(default=1.0, ge=-10, le=10)
    """Larger alpha of the adaptive divergence (AlphaNet: 1)."""

    clip: float = Field(default=5.0, gt=0, le=1000)
    """Largest importance weight of a divergence (AlphaNet: 5)."""

    alpha: float = Field(default=1.0, ge=-10, le=10)
    """Alpha of the fixed divergence."""

    temperature: float = Field(default=1.0, gt=0, le=100)
    """Temperature of soft targets and KL."""

    beta: float = Field(default=0.9, ge=0, le=1)
    """Weight of the divergence in KL; the rest is cross entropy with the labels."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.alpha_min > self.alpha_max:
            raise ValueError(f"alpha_min {self.alpha_min} is above alpha_max {self.alpha_max}: swap them")
        return self


class StandaloneSettings(SpecPart):
    """Settings of a stand-alone network beyond those of every training."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout rate before the classifier (SPOS: 0.1); the stand-alone form itself has none."""

    num_calibration_batches: int = Field(default=50, ge=1, le=100_000)
    """Number of training batches for the final statistics of batch normalisation (SPOS: 1,250)."""

    evaluation_batch_size: int = later(200, ge=1, le=65_536)
    """Number of images per forward pass when its accuracy is taken."""

    train_on_held_out: bool = later(False)
    """Whether the images that searches hold out are trained on too, as the papers' final networks are; there is no
    validation accuracy then, only the one on test images."""


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


class NetworkSettings(StandaloneSettings, ModelFiles):
    """What is trained by itself, what it starts from, and which model files are made of it."""

    architecture: Any = None
    """A published name, a genotype, or the space's own form. Absent in presets only: without it nothing is launched."""

    inherit_from: str | None = Field(default=None, min_length=1, max_length=100)
    """Supernet version (`supv_...`) whose weights it starts from; absent: from scratch."""


class RetrainSettings(NetworkSettings):
    """Settings of a network as the first release wrote them: a strategy of supernets."""

    kind: Literal["retrain"] = "retrain"
    """Name of the strategy; it selects these settings."""


def _by_its_first_name(document: Any) -> Any:
    if isinstance(document, dict) and document.get("kind") == "macs_binned":
        return {**document, "kind": "flops_binned"}
    return document


StrategySettings = Annotated[
    UniformSettings | MacsBinnedSettings | FairSettings | SandwichSettings,
    Field(discriminator="kind"),
    BeforeValidator(_by_its_first_name),
]
