"""Presets carry the papers' numbers, travel as JSON, and can be built."""

from __future__ import annotations

import pytest

from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.strategies import DistillationKind, MacsBinnedSettings, SandwichSettings
from nas_engine.settings.training import AugmentationName, NetworkSpec, Schedule
from nas_engine.spaces.registry import create_space
from nas_engine.training.data.augmentation import AUGMENTATIONS, Augmentation
from nas_engine.training.optimization import learning_rate_at
from nas_engine.training.strategies.factory import create_strategy


@pytest.mark.parametrize("name", TRAINING_PRESETS)
def test_every_preset_is_a_document_that_gives_it_back_and_builds_its_strategy(name: str) -> None:
    spec = TRAINING_PRESETS[name].spec
    assert type(spec).model_validate_json(spec.model_dump_json()) == spec
    space = create_space(spec.space.id, spec.space.parameters)
    if isinstance(spec, NetworkSpec):
        if spec.architecture is not None:
            space.parse(spec.architecture)
    else:
        create_strategy(space, spec.strategy, label_smoothing=0.1)


def test_spos_is_the_published_recipe() -> None:
    spec = TRAINING_PRESETS["spos-imagenet"].spec
    assert (spec.iterations, spec.batch_size, spec.optimizer.schedule) == (150_000, 1024, Schedule.LINEAR)
    assert (spec.optimizer.learning_rate, spec.optimizer.momentum, spec.optimizer.weight_decay) == (0.5, 0.9, 4e-5)
    assert (spec.strategy, spec.label_smoothing) == (MacsBinnedSettings(), 0.1)
    assert spec.augmentation is AugmentationName.IMAGENET
    assert AUGMENTATIONS[spec.augmentation] == Augmentation(
        horizontal_flip=True, resized_crop_scale=0.08, colour_jitter=(0.4, 0.4, 0.4)
    )
    retraining = TRAINING_PRESETS["spos-imagenet-retrain"].spec
    assert retraining.iterations == 300_000
    assert isinstance(retraining, NetworkSpec)
    assert retraining.num_calibration_batches * retraining.batch_size == 1_280_000


def test_alphanet_is_the_published_recipe() -> None:
    spec = TRAINING_PRESETS["alphanet-imagenet"].spec
    optimizer, strategy = spec.optimizer, spec.strategy
    rule = spec.optimizer_on(1_281_167)
    assert (spec.num_steps(1_281_167), rule.warmup_steps) == (360 * 625, 5 * 625)
    assert (optimizer.learning_rate, optimizer.gradient_clip_value, optimizer.nesterov) == (0.8, 1.0, True)
    assert isinstance(strategy, SandwichSettings)
    assert (strategy.num_random, strategy.distillation) == (2, DistillationKind.ADAPTIVE_ALPHA)
    assert (strategy.alpha_min, strategy.alpha_max, strategy.clip) == (-1.0, 1.0, 5.0)


def test_densenas_ends_at_the_published_learning_rate() -> None:
    spec = TRAINING_PRESETS["densenas-imagenet-retrain"].spec
    assert learning_rate_at(spec.optimizer, 300_240, 300_240) == pytest.approx(1e-4)
