"""Training without a server: recipes as files, retraining from inherited weights, torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hilnas.cli.specs.trainings import TrainingOptions, training_document
from nas_engine.domain.search_space import Form
from nas_engine.settings.base import SpaceSpec
from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.strategies import NetworkSettings, StrategySettings, UniformSettings
from nas_engine.settings.training import TrainingSettings
from nas_engine.supernet.weights import WeightStore
from nas_engine.training.command import SupernetRecipe, main, recipe_of
from tests.support.samples.datasets import striped_images
from tests.support.samples.training_run import changed, tiny_config, tiny_space

ROOT = Path(__file__).parents[3]


def _data(folder: Path) -> str:
    train, test = striped_images(90), striped_images(30, seed=1)
    path = folder / "stripes.npz"
    np.savez(path, x_train=train.pixels, y_train=train.labels, x_test=test.pixels, y_test=test.labels)
    return str(path)


def _recipe(folder: Path, strategy: StrategySettings | NetworkSettings, settings: TrainingSettings) -> str:
    space = SpaceSpec(id="spos", parameters=dict(tiny_space(0.0).parameters))
    named = {**dict(settings), "space": space, "dataset": "stripes"}
    own = dict(strategy) if isinstance(strategy, NetworkSettings) else {"strategy": strategy}
    recipe = recipe_of({**named, **own})
    path = folder / f"{type(strategy).__name__}.json"
    path.write_text(recipe.model_dump_json())
    return str(path)


def _arguments(recipe: str, folder: Path, out: str) -> list[str]:
    return [recipe, "--format", "npz", "--data", _data(folder), "--out", str(folder / out), "--device", "cpu"]


def test_a_supernet_is_trained_and_one_of_its_architectures_retrained_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supernet = _arguments(_recipe(tmp_path, UniformSettings(), tiny_config(6)), tmp_path, "supernet.safetensors")
    assert main(supernet) == 0
    assert len(capsys.readouterr().err.splitlines()) == 2
    weights = WeightStore.load(tmp_path / "supernet.safetensors", tiny_space().supernet_graphs())
    assert main(supernet) == 0  # finished already: the checkpoint is kept
    assert capsys.readouterr().err == ""

    settings = NetworkSettings(num_calibration_batches=2)
    again = _arguments(_recipe(tmp_path, settings, tiny_config(6)), tmp_path, "subnet.safetensors")
    inherit = ["--architecture", "[1, 2]", "--inherit", str(tmp_path / "supernet.safetensors")]
    assert main([*again, *inherit]) == 0
    report = json.loads(capsys.readouterr().out)
    assert 0 <= report["test"]["top1"] <= 1
    assert report["test"]["num_images"] == 30
    space = tiny_space(0.0)
    graph = space.graph(space.parse([1, 2]), Form.DEPLOYED)
    subnet = WeightStore.load(tmp_path / "subnet.safetensors", [graph])
    assert not torch.equal(subnet["stem.conv.weight"], weights["stem.conv.weight"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a recipe"),
        (["nothing", "--out", "x"], "unknown preset 'nothing'"),
        (["missing.json", "--out", "x"], "cannot be read"),
        (["spos-imagenet", "--out", "x"], "needs a path"),
    ],
)
def test_what_cannot_be_trained_is_said(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_what_differs_from_the_paper_is_said_before_a_preset_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = TRAINING_PRESETS["densenas-imagenet-retrain"]
    wanted = [f"differs from the paper: {deviation}" for deviation in preset.deviations]
    assert main([preset.name, "--out", str(tmp_path / "x")]) == 1  # there is no data set
    assert capsys.readouterr().err.splitlines()[: len(wanted)] == wanted


@pytest.mark.parametrize(
    ("given", "is_said"),
    [
        ({"strategy": {"kind": "sandwich"}}, True),
        ({"strategy": {"kind": "sandwich"}, "optimizer": {}, "augmentation": "none", "resolution": 32}, False),
        ({"strategy": {"kind": "uniform"}}, False),
    ],
)
def test_a_strategy_without_its_preset_says_that_it_is_not_the_papers_recipe(
    given: dict[str, object], is_said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps({"space": {"id": "attentivenas"}, "dataset": "imagenet", "epochs": 1, **given}))
    assert training_document(file, None, TrainingOptions())["epochs"] == 1
    said = capsys.readouterr().err
    assert ("the preset alphanet-imagenet has the published ones" in said) is is_said


def test_a_data_set_with_other_classes_than_the_recipe_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = _recipe(tmp_path, UniformSettings(), tiny_config(2))
    assert main([recipe, "--format", "fashion-mnist-12k", "--out", str(tmp_path / "x")]) == 1
    assert "10 classes, the recipe's space 3" in capsys.readouterr().err


def test_the_form_of_the_images_is_the_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = changed(tiny_config(2), normalisation="imagenet")
    assert main(_arguments(_recipe(tmp_path, UniformSettings(), config), tmp_path, "x.safetensors")) == 1
    assert "ImageNet's normalisation is of 3 channels, not of 1" in capsys.readouterr().err


def test_a_preset_can_be_shown_as_a_recipe_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--show", "spos-imagenet"]) == 0
    assert SupernetRecipe.model_validate_json(capsys.readouterr().out).iterations == 150_000


def test_a_recipe_file_that_is_wrong_is_refused_where_it_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(
        json.dumps({"space": {"id": "spos"}, "dataset": "x", "iterations": 1, "optimizer": {"momentum": 2}})
    )
    assert main([str(path), "--out", str(tmp_path / "x")]) == 1
    assert "optimizer.momentum" in capsys.readouterr().err


def test_torchrun_trains_one_supernet_with_two_processes(tmp_path: Path) -> None:
    config = changed(tiny_config(4), synchronised_norm=True)
    arguments = _arguments(_recipe(tmp_path, UniformSettings(), config), tmp_path, "parallel.safetensors")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*torchrun, "-m", "nas_engine.training.command", *arguments],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, check=True, timeout=180,
    )  # fmt: skip
    assert main(_arguments(arguments[0], tmp_path, "alone.safetensors")) == 0
    parallel, alone = (
        WeightStore.load(tmp_path / f"{name}.safetensors", tiny_space().supernet_graphs())
        for name in ("parallel", "alone")
    )
    for name in alone:
        assert torch.allclose(parallel[name], alone[name], rtol=1e-3, atol=1e-5), name
