"""Presets carry the papers' numbers, travel as JSON, and can be built."""

from __future__ import annotations

import pytest

from nas_engine.domain.errors import InvalidSpaceError, TrainingError
from nas_engine.domain.json_value import JsonValue, canonical_json
from nas_engine.training.config import Decay
from nas_engine.training.data.augmentation import Augmentation
from nas_engine.training.presets import PRESETS, preset
from nas_engine.training.recipe import Recipe, StrategyKind, make_strategy
from nas_engine.training.strategies.paths import PathSampling
from nas_engine.training.strategies.retrain import RetrainConfig
from nas_engine.training.strategies.sandwich import DistillationKind, SandwichConfig
from nas_engine.training.strategies.uniform import UniformConfig


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_document_that_gives_it_back_and_builds_its_strategy(name: str) -> None:
    recipe = preset(name)
    document = recipe.to_json()
    canonical_json(document)
    assert Recipe.from_json(document) == recipe
    space = recipe.space()
    if recipe.kind is StrategyKind.RETRAIN:
        with pytest.raises(TrainingError, match="give the architecture"):
            make_strategy(space, recipe.strategy)
    else:
        assert make_strategy(space, recipe.strategy).name == recipe.kind.value


def test_spos_is_the_published_recipe() -> None:
    recipe = preset("spos-imagenet")
    train, strategy = recipe.train, recipe.strategy
    assert (train.num_steps, train.batch_size, train.schedule.decay) == (150_000, 1024, Decay.LINEAR)
    assert (train.optimizer.learning_rate, train.optimizer.momentum, train.optimizer.weight_decay) == (0.5, 0.9, 4e-5)
    assert isinstance(strategy, UniformConfig)
    assert (strategy.sampling, strategy.label_smoothing) == (PathSampling.MACS_BINS, 0.1)
    assert train.augmentation == Augmentation(
        horizontal_flip=True, resized_crop_scale=0.08, colour_jitter=(0.4, 0.4, 0.4)
    )
    retraining = preset("spos-imagenet-retrain")
    assert retraining.train.num_steps == 300_000
    assert isinstance(retraining.strategy, RetrainConfig)
    assert retraining.strategy.calibration_batches * retraining.train.batch_size == 1_280_000


def test_alphanet_is_the_published_recipe() -> None:
    recipe = preset("alphanet-imagenet")
    train, strategy = recipe.train, recipe.strategy
    assert (train.num_steps, train.schedule.warmup_steps) == (360 * 625, 5 * 625)
    assert (train.optimizer.learning_rate, train.optimizer.clip_value, train.optimizer.nesterov) == (0.8, 1.0, True)
    assert isinstance(strategy, SandwichConfig)
    assert (strategy.num_random, strategy.distillation) == (2, DistillationKind.ADAPTIVE_ALPHA)
    assert (strategy.alpha_min, strategy.alpha_max, strategy.clip) == (-1.0, 1.0, 5.0)


def test_densenas_ends_at_the_published_learning_rate() -> None:
    train = preset("densenas-imagenet-retrain").train
    last = train.optimizer.learning_rate * train.schedule.factor(train.num_steps, train.num_steps)
    assert last == pytest.approx(1e-4)


def _document(**changes: JsonValue) -> dict[str, JsonValue]:
    document = preset("fashion-mnist-demo").to_json()
    assert isinstance(document, dict)
    return {**document, **changes}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "a recipe is an object"),
        ({"name": "x"}, "a recipe is an object"),
        (_document(optimiser=1), "unknown key 'optimiser'"),
        (_document(strategy={"kind": "magic"}), "unknown strategy 'magic'"),
        (_document(strategy="uniform"), "an object with kind and config"),
        (_document(strategy={"kind": "fair", "config": {"alpha": 1}}), r"strategy\.config has the unknown key"),
        (_document(train={"num_steps": 5}), "train lacks batch_size"),
        (_document(images={"image_size": "big"}), r"images\.image_size"),
    ],
)
def test_documents_that_cannot_be_read_are_refused(document: JsonValue, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Recipe.from_json(document)


def test_unknown_presets_and_spaces_are_named() -> None:
    with pytest.raises(TrainingError, match="known are spos-imagenet"):
        preset("spos")
    with pytest.raises(InvalidSpaceError):
        Recipe.from_json(_document(space_id="nowhere")).space()
