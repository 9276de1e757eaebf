"""Training specs in the engine's own settings."""

from __future__ import annotations

from typing import assert_never

from nas_engine.domain.search_space import SearchSpace
from nas_engine.training.augmentation import NO_AUGMENTATION, Augmentation
from nas_engine.training.config import Decay, OptimizerConfig, ScheduleConfig, TrainConfig
from nas_engine.training.paths import PathSampling
from nas_engine.training.strategy import TrainingStrategy
from nas_engine.training.uniform import UniformConfig
from nas_engine.training.uniform import UniformStrategy as UniformTraining
from server.service.training_spec import FlopsBinnedStrategy, TrainingSpec, UniformStrategy

REPORTS_PER_RUN = 100
LIGHT = Augmentation(crop_padding=2, horizontal_flip=True)
# SPOS reference: RandomResizedCrop, ColorJitter(0.4, 0.4, 0.4), flip.
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
            learning_rate=spec.optimizer.learning_rate,
            momentum=spec.optimizer.momentum,
            weight_decay=spec.optimizer.weight_decay,
            clip_norm=spec.optimizer.gradient_clip_norm,
        ),
        schedule=ScheduleConfig(decay=Decay(spec.optimizer.schedule)),
        augmentation=_augmentation(spec),
        report_every_steps=max(num_steps // REPORTS_PER_RUN, 1),
        checkpoint_every_steps=spec.checkpoint_every_steps,
    )


def strategy_of(spec: TrainingSpec, space: SearchSpace) -> TrainingStrategy:
    """What a step of the training does."""
    match spec.strategy:
        case UniformStrategy():
            sampling = PathSampling.UNIFORM
        case FlopsBinnedStrategy():
            sampling = PathSampling.MACS_BINS
        case _:
            assert_never(spec.strategy)
    return UniformTraining(space, UniformConfig(sampling=sampling, label_smoothing=spec.label_smoothing))


def _augmentation(spec: TrainingSpec) -> Augmentation:
    match spec.augmentation:
        case "none":
            return NO_AUGMENTATION
        case "light":
            return LIGHT
        case "imagenet":
            return IMAGENET
