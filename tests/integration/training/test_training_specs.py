"""Training specs in the engine's settings, and presets that equal the engine's recipes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nas_engine.settings.training import RetrainSettings, TrainingSpec
from nas_engine.spaces.registry import create_space
from nas_engine.training.presets import PRESETS
from nas_engine.training.strategies.fair import FairConfig
from nas_engine.training.strategies.sandwich import DistillationKind, SandwichConfig
from server.core.errors import InvalidSpecError
from server.training.presets import TRAINING_PRESETS
from server.training.spec import parse_training_spec
from server.training.worker.settings import strategy_config, train_config

BASE: dict[str, Any] = {"space": {"id": "spos"}, "dataset": "fashion-mnist-12k", "iterations": 10}


def parsed(**changes: Any) -> TrainingSpec:
    return parse_training_spec({**BASE, **changes})


def test_there_is_a_preset_for_every_recipe() -> None:
    assert list(TRAINING_PRESETS) == list(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_recipe_of_its_name(name: str) -> None:
    recipe, spec = PRESETS[name], TRAINING_PRESETS[name].spec
    config = train_config(spec, 1_281_167)
    assert replace(config, report_every_steps=recipe.train.report_every_steps) == recipe.train
    assert strategy_config(spec) == recipe.strategy
    space = create_space(spec.space.id, spec.space.parameters)
    assert (space.space_id, space.parameters) == (recipe.space().space_id, recipe.space().parameters)
    if isinstance(spec.strategy, RetrainSettings) and spec.strategy.architecture is not None:
        space.parse(spec.strategy.architecture)


def test_a_preset_is_a_valid_spec_document() -> None:
    for preset in TRAINING_PRESETS.values():
        assert parse_training_spec(preset.spec.model_dump(mode="json")) == preset.spec


def test_strategies_carry_their_settings() -> None:
    assert strategy_config(parsed(strategy={"kind": "fair"}, label_smoothing=0.0)) == FairConfig()
    told = {"kind": "sandwich", "distillation": "kl", "beta": 0.8, "temperature": 2.0, "num_random": 1}
    assert strategy_config(parsed(strategy=told)) == SandwichConfig(
        distillation=DistillationKind.KULLBACK_LEIBLER, beta=0.8, temperature=2.0, num_random=1
    )


def test_the_alphas_of_a_divergence_are_in_order() -> None:
    with pytest.raises(InvalidSpecError, match="alpha_min 1.0 is above alpha_max -1.0: swap them"):
        parsed(strategy={"kind": "sandwich", "alpha_min": 1.0, "alpha_max": -1.0})


@pytest.mark.parametrize("kind", [kind.value for kind in DistillationKind])
def test_every_distillation_has_a_name_in_the_spec(kind: str) -> None:
    config = strategy_config(parsed(strategy={"kind": "sandwich", "distillation": kind}))
    assert isinstance(config, SandwichConfig)
    assert config.distillation is DistillationKind(kind)


def test_a_retraining_of_what_a_search_found_has_no_architecture_of_its_own() -> None:
    without = [
        name
        for name, preset in TRAINING_PRESETS.items()
        if isinstance(preset.spec.strategy, RetrainSettings) and preset.spec.strategy.architecture is None
    ]
    assert without == ["shifting-imagenet100-retrain"]


@pytest.mark.parametrize(("num_processes", "batch_size", "fits"), [(2, 16, True), (3, 16, False), ("gpus", 7, True)])
def test_a_batch_divides_over_its_processes(num_processes: Any, batch_size: int, fits: bool) -> None:
    changes = {"num_processes": num_processes, "batch_size": batch_size}
    if fits:
        assert parsed(**changes).num_processes == num_processes
        return
    with pytest.raises(InvalidSpecError, match="does not divide over 3 processes"):
        parsed(**changes)


def test_only_a_cosine_ends_above_zero() -> None:
    with pytest.raises(InvalidSpecError, match="cosine"):
        parsed(optimizer={"schedule": "linear", "final_share": 0.1})


def test_a_batch_holds_no_more_images_than_there_are() -> None:
    assert parsed(batch_size=64, max_train_images=64).batch_size == 64
    with pytest.raises(InvalidSpecError, match="batch_size 64 is above max_train_images 63: lower it"):
        parsed(batch_size=64, max_train_images=63)
