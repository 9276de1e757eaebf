"""Training specs: documents that are accepted, and documents that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.strategies import MacsBinnedSettings
from nas_engine.settings.training import NetworkSpec, TrainingSpec, trains_network
from server.core.errors import InvalidSpecError
from server.training.networks.network import parse_network_spec
from server.training.spec import parse_training_spec

BASE: dict[str, Any] = {"space": {"id": "spos"}, "dataset": "fashion-mnist-12k", "iterations": 10}


def parsed(**changes: Any) -> TrainingSpec:
    return parse_training_spec({**BASE, **changes})


def test_a_preset_is_a_valid_spec_document() -> None:
    for preset in TRAINING_PRESETS.values():
        parse = parse_network_spec if trains_network(preset.spec) else parse_training_spec
        assert parse(preset.spec.model_dump(mode="json")) == preset.spec


def test_a_network_is_no_supernet_with_a_strategy() -> None:
    with pytest.raises(InvalidSpecError, match="'retrain' found using 'kind' does not match"):
        parsed(strategy={"kind": "retrain", "architecture": "spos-searched"})
    with pytest.raises(InvalidSpecError, match="retrain"):
        parse_network_spec({**BASE, "strategy": {"kind": "uniform"}})


@pytest.mark.parametrize("kind", ["macs_binned", "flops_binned"])
def test_both_names_of_a_strategy_are_taken_and_the_one_that_old_clients_read_is_shown(kind: str) -> None:
    spec = parsed(strategy={"kind": kind, "num_bins": 5})
    assert spec.strategy == MacsBinnedSettings(num_bins=5)
    assert spec.model_dump(mode="json")["strategy"]["kind"] == "flops_binned"


def test_the_alphas_of_a_divergence_are_in_order() -> None:
    with pytest.raises(InvalidSpecError, match="alpha_min 1.0 is above alpha_max -1.0: swap them"):
        parsed(strategy={"kind": "sandwich", "alpha_min": 1.0, "alpha_max": -1.0})


def test_a_retraining_of_what_a_search_found_has_no_architecture_of_its_own() -> None:
    without = [
        name
        for name, preset in TRAINING_PRESETS.items()
        if isinstance(preset.spec, NetworkSpec) and preset.spec.architecture is None
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
