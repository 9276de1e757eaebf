"""Settings of a training run, as frozen values. Recipes of the papers are in presets.py."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

from nas_engine.domain.errors import TrainingError
from nas_engine.domain.layer_graph import WeightRole
from nas_engine.training.data.augmentation import NO_AUGMENTATION, Augmentation

NOT_BN_OR_BIAS = frozenset({WeightRole.CONV, WeightRole.FC})


class OptimizerKind(Enum):
    """Update rule."""

    SGD = "sgd"
    ADAMW = "adamw"


class Decay(Enum):
    """Shape of the learning rate over the run."""

    LINEAR = "linear"  # to 0, per iteration (SPOS)
    COSINE = "cosine"  # half a cosine to 0 (AlphaNet)
    CONSTANT = "constant"  # supernet shifting


class Precision(Enum):
    """Arithmetic of forward passes."""

    FLOAT32 = "float32"
    MIXED = "mixed"  # autocast: bfloat16 where the GPU has it, else float16 with loss scaling; CUDA only
    AUTO = "auto"  # MIXED on CUDA, FLOAT32 on the CPU (bfloat16 depthwise is slower there)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """Optimiser and gradient treatment.

    Attributes:
        learning_rate: peak.
        momentum: of SGD; first moment of AdamW.
        weight_decay: for weights of the decayed roles.
        decayed_roles: SPOS, SCARLET and AlphaNet decay neither BN nor biases.
        clip_value: clamp every gradient element to +-this (AlphaNet 1.0); None for no clamp.
        clip_norm: scale gradients to at most this total norm; None for no limit.
    """

    kind: OptimizerKind = OptimizerKind.SGD
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 4e-5
    decayed_roles: frozenset[WeightRole] = NOT_BN_OR_BIAS
    clip_value: float | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        _finite_positive("learning_rate", self.learning_rate)
        if not 0.0 <= self.momentum < 1.0:
            raise TrainingError(f"momentum is {self.momentum}: it must lie in [0, 1)")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0.0):
            raise TrainingError(f"weight_decay is {self.weight_decay}: it must be 0 or more")
        for name, limit in (("clip_value", self.clip_value), ("clip_norm", self.clip_norm)):
            if limit is not None:
                _finite_positive(name, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """Learning rate over the run.

    Attributes:
        warmup_steps: linear rise from a thousandth of the peak; the decay runs on meanwhile
            (AlphaNet: the cosine is not delayed).
        final_share: share of the peak that the cosine ends at (DenseNAS: 1e-4 of 0.2; SPOS, AlphaNet: 0).
    """

    decay: Decay = Decay.LINEAR
    warmup_steps: int = 0
    final_share: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise TrainingError(f"warmup_steps is {self.warmup_steps}: it must be 0 or more")
        if not 0.0 <= self.final_share < 1.0:
            raise TrainingError(f"final_share is {self.final_share}: it must lie in [0, 1)")
        if self.final_share and self.decay is not Decay.COSINE:
            raise TrainingError(f"final_share is for the cosine, the decay is {self.decay.value}: leave it at 0")

    def factor(self, step: int, num_steps: int) -> float:
        """Share of the peak learning rate that update `step` (from 0) is made with.

        SPOS advances its schedule before each update, so the first is made at 1 - 1/num_steps and the
        last at 0; AlphaNet's cosine starts at 1.
        """
        warm = 1.0
        if step < self.warmup_steps:
            done = step / self.warmup_steps
            warm = 0.001 * (1.0 - done) + done
        match self.decay:
            case Decay.LINEAR:
                return warm * (1.0 - (step + 1) / num_steps)
            case Decay.COSINE:
                falling = 0.5 * (1.0 + math.cos(math.pi * step / num_steps))
                return warm * (self.final_share + (1.0 - self.final_share) * falling)
            case Decay.CONSTANT:
                return warm


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run; what the strategy needs beyond this is the strategy's own config.

    Attributes:
        num_steps: optimiser updates.
        batch_size: images per update, over all processes together.
        seed: of everything random in the run.
        synchronised_norm: batch-normalisation statistics over all processes, which makes N processes
            equal to one with N times the batch; off, as in the papers, each process has its own.
        report_every_steps: how often progress is reported (and a loss is entered in the curve).
        checkpoint_every_steps: how often a checkpoint is written.
    """

    num_steps: int
    batch_size: int
    seed: int = 0
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augmentation: Augmentation = NO_AUGMENTATION
    precision: Precision = Precision.AUTO
    synchronised_norm: bool = False
    report_every_steps: int = 20
    checkpoint_every_steps: int = 200

    def __post_init__(self) -> None:
        for name, count in (
            ("num_steps", self.num_steps),
            ("batch_size", self.batch_size),
            ("report_every_steps", self.report_every_steps),
            ("checkpoint_every_steps", self.checkpoint_every_steps),
        ):
            if count < 1:
                raise TrainingError(f"{name} is {count}: it must be 1 or more")
        if self.seed < 0:
            raise TrainingError(f"seed is {self.seed}: it must be 0 or more")


def check_label_smoothing(value: float) -> float:
    """`value` if it is a share.

    Raises:
        TrainingError: it is not in [0, 1).
    """
    if not 0.0 <= value < 1.0:
        raise TrainingError(f"label_smoothing is {value}: it must lie in [0, 1)")
    return value


def _finite_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise TrainingError(f"{name} is {value}: it must be finite and above 0")
