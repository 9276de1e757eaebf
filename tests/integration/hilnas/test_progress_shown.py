"""Work that takes its time says so on a terminal, and leaves standard output to its answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hilnas.cli.main import main
from tests.support.samples.datasets import striped_images
from tests.support.samples.training_run import tiny_config, tiny_space


@pytest.fixture
def data(tmp_path: Path) -> Path:
    train, test = striped_images(90), striped_images(30, seed=1)
    path = tmp_path / "stripes.npz"
    np.savez(path, x_train=train.pixels, y_train=train.labels, x_test=test.pixels, y_test=test.labels)
    return path


def _on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # what rich takes for a terminal that is redrawn
    monkeypatch.setenv("TTY_INTERACTIVE", "1")


def test_packing_images_is_shown_on_a_terminal_and_in_no_log(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["images", "pack", str(tmp_path / "packed"), "--data", str(data), "--format", "npz", "--json"]
    assert main(words) == 0
    logged = capsys.readouterr()
    assert "packing" not in logged.err
    _on_a_terminal(monkeypatch)
    assert main(words) == 0
    drawn = capsys.readouterr()
    assert "reading and packing 30 images" in drawn.err
    assert json.loads(drawn.out) == json.loads(logged.out)


def test_a_local_training_draws_a_bar_on_a_terminal_and_writes_lines_in_a_log(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"id": "spos", "parameters": dict(tiny_space(0.0).parameters)}
    recipe = {**tiny_config(2).model_dump(mode="json"), "name": "stripes", "dataset": "stripes", "space": space}
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({**recipe, "max_train_images": 32}))
    here = ["--local", "--data", str(data), "--format", "npz", "--device", "cpu"]
    words = ["supernets", "train", str(spec), *here, "--out"]
    assert main([*words, str(tmp_path / "a.safetensors")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert json.loads(lines[-1])["step"] == 2
    _on_a_terminal(monkeypatch)
    assert main([*words, str(tmp_path / "b.safetensors")]) == 0
    drawn = capsys.readouterr().err
    assert "2/2" in drawn
    assert "step, loss" in drawn
    assert "{" not in drawn
