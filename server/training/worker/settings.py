"""Training specs in the engine's own settings."""

from __future__ import annotations

from typing import assert_never

from nas_engine.domain.layer_graph import WeightRole
from nas_engine.domain.search_space import SearchSpace
from nas_engine.settings.training import (
    FairStrategy,
    MacsBinnedSettings,
    RetrainSettings,
    SandwichStrategy,
    TrainingSpec,
    UniformStrategy,
)
from nas_engine.training.config import (
    NOT_BN_OR_BIAS,
    Decay,
    OptimizerConfig,
    OptimizerKind,
    ScheduleConfig,
    TrainConfig,
)
from nas_engine.training.data.augmentation import NO_AUGMENTATION, Augmentation
from nas_engine.training.recipe import StrategyConfig, make_strategy
from nas_engine.training.strategies.fair import FairConfig
from nas_engine.training.strategies.paths import PathSampling
from nas_engine.training.strategies.retrain import RetrainConfig
from nas_engine.training.strategies.sandwich import DistillationKind, SandwichConfig
from nas_engine.training.strategies.strategy import TrainingStrategy
from nas_engine.training.strategies.uniform import UniformConfig

REPORTS_PER_RUN = 100
LIGHT = Augmentation(crop_padding=2, horizontal_flip=True)
# SPOS reference: RandomResizedCrop, ColorJitter(0.4, 0.4, 0.4), flip.
INCEPTION = Augmentation(resized_crop_scale=0.08, horizontal_flip=True)
AUTOAUGMENT = Augmentation(resized_crop_scale=0.08, horizontal_flip=True, auto_augment=True)
IMAGENET = Augmentation(resized_crop_scale=0.08, horizontal_flip=True, colour_jitter=(0.4, 0.4, 0.4))


def train_config(spec: TrainingSpec, num_images: int) -> TrainConfig:
    """Run settings of a spec for a data set of `num_images` training images."""
    steps_per_epoch = max(num_images // spec.batch_size, 1)
    num_steps = spec.iterations or steps_per_epoch * (spec.epochs or 1)
    return TrainConfig(
        num_steps=num_steps,
        batch_size=spec.batch_size,
        seed=spec.seed,
        optimizer=OptimizerConfig(
            kind=OptimizerKind(spec.optimizer.kind),
            nesterov=spec.optimizer.nesterov,
            decayed_roles=frozenset(WeightRole) if spec.optimizer.decay_all else NOT_BN_OR_BIAS,
            clip_value=spec.optimizer.gradient_clip_value,
            learning_rate=spec.optimizer.learning_rate,
            momentum=spec.optimizer.momentum,
            weight_decay=spec.optimizer.weight_decay,
            clip_norm=spec.optimizer.gradient_clip_norm,
        ),
        schedule=ScheduleConfig(
            decay=Decay(spec.optimizer.schedule),
            warmup_steps=spec.optimizer.warmup_steps,
            final_share=spec.optimizer.final_share,
        ),
        augmentation=_augmentation(spec),
        synchronised_norm=spec.synchronised_norm,
        report_every_steps=max(num_steps // REPORTS_PER_RUN, 1),
        checkpoint_every_steps=spec.checkpoint_every_steps,
    )


def strategy_of(spec: TrainingSpec, space: SearchSpace) -> TrainingStrategy:
    """What a step of a supernet's training does.

    Raises:
        TrainingError: the strategy refuses the space, or trains no supernet.
    """
    return make_strategy(space, strategy_config(spec))


def strategy_config(spec: TrainingSpec) -> StrategyConfig:
    """The engine's settings of a strategy."""
    smoothing = spec.label_smoothing
    match spec.strategy:
        case UniformStrategy():
            return UniformConfig(sampling=PathSampling.UNIFORM, label_smoothing=smoothing)
        case MacsBinnedSettings():
            return UniformConfig(sampling=PathSampling.MACS_BINS, label_smoothing=smoothing)
        case FairStrategy():
            return FairConfig(label_smoothing=smoothing)
        case SandwichStrategy() as own:
            return SandwichConfig(
                num_random=own.num_random,
                label_smoothing=smoothing,
                distillation=DistillationKind(own.distillation),
                alpha_min=own.alpha_min,
                alpha_max=own.alpha_max,
                clip=own.clip,
                alpha=own.alpha,
                temperature=own.temperature,
                beta=own.beta,
            )
        case RetrainSettings() as own:
            return RetrainConfig(
                label_smoothing=smoothing, dropout=own.dropout, calibration_batches=own.num_calibration_batches
            )
        case _:
            assert_never(spec.strategy)


def _augmentation(spec: TrainingSpec) -> Augmentation:
    match spec.augmentation:
        case "none":
            return NO_AUGMENTATION
        case "light":
            return LIGHT
        case "inception":
            return INCEPTION
        case "imagenet":
            return IMAGENET
        case "autoaugment":
            return AUTOAUGMENT
