"""Checkpoints of the first release are resumed: the digests here are those it stored."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas_engine.cost.latency_table import mac_costs
from nas_engine.domain.search_space import Form
from nas_engine.settings.densenas import DenseNasSettings
from nas_engine.settings.shifting import ShiftingSettings
from nas_engine.settings.training import NetworkSpec, TrainingSpec
from nas_engine.training.loop import run_identity
from nas_engine.training.randomness import Randomness
from nas_engine.training.strategies.differentiable import DifferentiableStrategy, architecture_stream
from nas_engine.training.strategies.factory import create_strategy
from nas_engine.training.strategies.retrain import SinglePath
from nas_engine.training.strategies.shifting import SupernetShifter
from tests.integration.engine_training.test_differentiable_search import DATA, MBV2, fresh_weights
from tests.support.samples.datasets import striped_dataset
from tests.support.samples.training_run import tiny_space, tiny_weights

SPACE = tiny_space()
BASE: dict[str, Any] = {"space": {"id": "spos"}, "dataset": "x", "iterations": 10, "batch_size": 16}
CPU = torch.device("cpu")


def spec(**changes: Any) -> TrainingSpec:
    return TrainingSpec.model_validate({**BASE, **changes})


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        ({}, "f8c5518326b347d540a8bb0ff691d8be2a0af61af9395e7a50161dd352f9d258"),
        (
            {
                "strategy": {"kind": "flops_binned"},
                "augmentation": "imagenet",
                "optimizer": {
                    "schedule": "cosine", "warmup_steps": 3, "final_share": 0.1, "gradient_clip_norm": 1.0,
                },
            },
            "b208561fbce5bf4112196ffb6e9313aee5efdeabaad527f85507526be82529ab",
        ),
        (
            {"strategy": {"kind": "fair"}, "epochs": 3, "iterations": None, "augmentation": "inception"},
            "260daa36b00907da0cd8490c96b0b9502c7da1c43ca86715f935414b6951cb03",
        ),
        (
            {
                "strategy": {"kind": "sandwich", "distillation": "kl"},
                "augmentation": "autoaugment",
                "seed": 7,
                "optimizer": {"kind": "adamw", "decay_all": True},
            },
            "1b2eda5457cf2ac266e18301381be2d4496e6466cf2e32cde0408439a86977ff",
        ),
    ],
    ids=["uniform", "macs_binned", "fair", "sandwich"],
)  # fmt: skip
def test_a_supernet_training_of_the_first_release_is_the_same_run(changes: dict[str, Any], stored: str) -> None:
    settings = spec(**changes)
    strategy = create_strategy(SPACE, settings.strategy, label_smoothing=settings.label_smoothing)
    assert run_identity(strategy, tiny_weights(SPACE), striped_dataset(), settings) == stored


def test_a_retraining_of_the_first_release_is_the_same_run() -> None:
    wanted = {"kind": "retrain", "architecture": [1, 2], "dropout": 0.1}
    settings = NetworkSpec.model_validate({**BASE, "strategy": wanted})
    graph = SPACE.graph(SPACE.parse([1, 2]), Form.DEPLOYED)
    strategy = SinglePath(graph, settings, label_smoothing=0.1)
    stored = "ba7a7e372059504df941914c3c542cbec9c23bbb44a7933b37735893da32012e"
    assert run_identity(strategy, tiny_weights(SPACE), striped_dataset(), settings) == stored


def test_a_shifted_supernet_of_the_first_release_is_gone_on_from() -> None:
    settings = ShiftingSettings(images_per_candidate=32, batch_size=16)
    shifter = SupernetShifter(tiny_weights(SPACE), striped_dataset(), settings, CPU, seed=3)
    assert shifter.identity() == "c4245f6549c9d3b5425a84f86ec852903f655320a195c7bd94f6c9c650985744"


def test_a_derivation_of_the_first_release_is_the_same_run() -> None:
    settings = DenseNasSettings(
        dataset="bars", epochs=6, first_architecture_epoch=1, batch_size=24, learning_rate=0.1, final_learning_rate=0.0
    )
    training = settings.weight_training(seed=3)
    strategy = DifferentiableStrategy(
        MBV2,
        mac_costs(MBV2),
        settings,
        architecture_stream(DATA, training, device=CPU),
        cost_factor=0.15,
        weight_steps_per_epoch=len(DATA.train) // 24,
        randomness=Randomness(3),
    )
    stored = "da706ac03669cb5a8e596e8690752309abb553f199313671b0f10e952c43872d"
    assert run_identity(strategy, fresh_weights(MBV2), DATA, training) == stored


def test_another_setting_is_another_run() -> None:
    digests = {
        run_identity(
            create_strategy(SPACE, settings.strategy, label_smoothing=settings.label_smoothing),
            tiny_weights(SPACE),
            striped_dataset(),
            settings,
        )
        for settings in (
            spec(),
            spec(seed=1),
            spec(label_smoothing=0.0),
            spec(precision="float32"),
            spec(strategy={"kind": "uniform", "paths_per_step": 2}),
            spec(strategy={"kind": "macs_binned"}),
            spec(strategy={"kind": "macs_binned", "num_bins": 3}),
        )
    }
    assert len(digests) == 7
    same = spec(report_every_steps=1, checkpoint_every_steps=1)
    strategy = create_strategy(SPACE, same.strategy, label_smoothing=0.1)
    assert run_identity(strategy, tiny_weights(SPACE), striped_dataset(), same) in digests
