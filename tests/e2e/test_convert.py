"""`hilnas models convert` as a user runs it: a file from `hilnas spaces decode --onnx`, to fp16 and to w8a8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.samples.rknn_files import NEEDS_CONVERTER, RKNN_PYTHON

SIZE = 64
GENOTYPE = json.dumps([0, 1, 2, 3] * 5)
DECODE = ("spaces", "decode", "spos", "--architecture", GENOTYPE, "-p", f"input_size={SIZE}", "--json")
pytestmark = [pytest.mark.timeout(300), NEEDS_CONVERTER]


def hilnas(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, run in a folder."""
    environment = os.environ | {"HILNAS_RKNN_PYTHON": str(RKNN_PYTHON), "COLUMNS": "200"}
    command = [str(Path(sys.executable).with_name("hilnas")), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a decoded architecture as model.onnx, and calibration images."""
    made = tmp_path_factory.mktemp("convert")
    decoded = hilnas(made, *DECODE, "--onnx", "model.onnx")
    assert decoded.returncode == 0, decoded.stderr
    (made / "decoded.json").write_text(decoded.stdout)
    rng = np.random.default_rng(0)
    np.save(made / "images.npy", rng.standard_normal((4, 3, SIZE, SIZE), dtype=np.float32))
    return made


@pytest.fixture(scope="module")
def fp16(folder: Path) -> str:
    """What the conversion to model.rknn printed."""
    done = hilnas(folder, "convert", "model.onnx")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_decoded_architecture_becomes_an_fp16_file_with_its_provenance(folder: Path, fp16: str) -> None:
    assert "simulated" in fp16
    assert "not measured" in fp16
    model = (folder / "model.rknn").read_bytes()
    arch_id = json.loads((folder / "decoded.json").read_text())["arch_id"]
    assert model.startswith(b"RKNN")
    assert f"arch_id={arch_id}".encode() in model
    assert json.loads((folder / "model.cycles.json").read_text())["layers"]


@pytest.mark.usefixtures("fp16")
def test_calibration_images_make_an_int8_file_that_is_smaller(folder: Path) -> None:
    arguments = ("--dtype", "w8a8", "--calibration", "images.npy", "--npu-only", "--output", "int8.rknn")
    int8 = hilnas(folder, "convert", "model.onnx", *arguments)
    assert int8.returncode == 0, int8.stderr
    assert (folder / "int8.rknn").stat().st_size < 0.8 * (folder / "model.rknn").stat().st_size
    layers = json.loads((folder / "int8.cycles.json").read_text())["layers"]
    assert {layer["dtype"] for layer in layers} >= {"INT8"}


def test_a_chip_with_a_wider_table_is_converted_without_a_time_of_another_chip(folder: Path) -> None:
    done = hilnas(folder, "convert", "model.onnx", "--target", "rk3576", "--output", "rk3576.rknn")
    assert done.returncode == 0, done.stderr
    assert "cycles" in done.stdout
    assert "simulated" not in done.stdout


def test_a_refusal_is_one_line_that_names_the_cause(folder: Path) -> None:
    done = hilnas(folder, "convert", "model.onnx", "--target", "rk9999")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "rk9999" in done.stderr
