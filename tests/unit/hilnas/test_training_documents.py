"""The spec that `supernets train` and `networks train` send, of presets, files and options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hilnas.cli.specs.trainings import TrainingOptions, of_one_network, training_document
from hilnas.client.errors import SpecFileError
from nas_engine.settings.training import NetworkSpec, trains_network

BASE = {"space": {"id": "spos"}, "dataset": "stripes", "epochs": 1}
OWN = {"architecture": "spos-searched", "dropout": 0.2}
FIRST = {"strategy": {"kind": "retrain", **OWN}}


def _file(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "spec.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("spelled", [OWN, FIRST])
def test_both_spellings_of_a_network_are_read_and_take_another_architecture(
    tmp_path: Path, spelled: dict[str, Any]
) -> None:
    options = TrainingOptions(architecture="[0, 1]")
    document = training_document(_file(tmp_path, {**BASE, **spelled}), None, options)
    assert trains_network(document)
    spec = NetworkSpec.model_validate(of_one_network(document))
    assert (spec.architecture, spec.dropout, spec.strategy) == ([0, 1], 0.2, None)


def test_a_file_of_the_first_release_replaces_what_a_preset_trains(tmp_path: Path) -> None:
    document = training_document(_file(tmp_path, FIRST), "spos-imagenet-retrain", TrainingOptions())
    spec = NetworkSpec.model_validate(document)
    assert (spec.architecture, spec.dropout, spec.iterations) == ("spos-searched", 0.2, 300_000)


def test_the_strategy_of_an_option_says_what_is_trained() -> None:
    network = training_document(
        None, "spos-imagenet", TrainingOptions(strategy="retrain", architecture="spos-searched")
    )
    assert NetworkSpec.model_validate(network).architecture == "spos-searched"
    supernet = training_document(None, "spos-imagenet-retrain", TrainingOptions(strategy="uniform"))
    assert not trains_network(supernet)
    assert "architecture" not in supernet


def test_what_trains_a_supernet_has_no_architecture_and_trains_no_network(tmp_path: Path) -> None:
    uniform = _file(tmp_path, {**BASE, "strategy": {"kind": "uniform"}})
    with pytest.raises(SpecFileError, match="--architecture is for retrainings"):
        training_document(uniform, None, TrainingOptions(architecture="spos-searched"))
    with pytest.raises(SpecFileError, match="this spec trains a supernet"):
        of_one_network(training_document(uniform, None, TrainingOptions()))
    assert of_one_network(dict(BASE)) == {**BASE, "architecture": None}
