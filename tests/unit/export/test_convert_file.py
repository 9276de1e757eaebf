"""Files around a conversion by hand: what is wrong with one is said before a converter is started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas_engine.domain.errors import ConversionError, ConversionFailure, ExportError
from nas_engine.domain.measuring.environment import Dtype
from nas_engine.export.convert_file import convert_file, read_calibration
from nas_engine.export.onnx import export_onnx
from nas_engine.export.random_weights import random_weights
from nas_engine.export.rknn.converter import find_converter, installed_converter
from nas_engine.export.rknn.settings import RknnSettings
from tests.support.samples.sample_graphs import small_shufflenet

FP16 = RknnSettings(dtype=Dtype.FP16)
IMAGES = np.ones((2, 3, 4, 4), np.float32)


def test_images_are_read_from_both_numpy_formats(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    np.savez(tmp_path / "b.npz", images=IMAGES)
    first, second = read_calibration(tmp_path / "a.npy"), read_calibration(tmp_path / "b.npz")
    assert first.digest == second.digest
    np.testing.assert_array_equal(first.images_NCHW, IMAGES)


def test_an_archive_without_images_says_which_name_it_needs(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", x=IMAGES)
    with pytest.raises(ExportError, match="no array 'images'"):
        read_calibration(tmp_path / "b.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x93NUMPY broken", b"text"])
def test_a_file_that_holds_no_images_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "images.npy"
    file.write_bytes(content)
    with pytest.raises(ExportError, match="cannot read calibration images"):
        read_calibration(file)


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ExportError, match="cannot read calibration images"):
        read_calibration(tmp_path / "images.npy")


def test_a_missing_or_malformed_model_is_refused_before_a_converter_starts(tmp_path: Path) -> None:
    missing, broken = tmp_path / "missing.onnx", tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff\xff")
    nowhere = Path("/nonexistent/python")
    with pytest.raises(ExportError, match=r"cannot read .*missing\.onnx"):
        convert_file(missing, tmp_path / "out.rknn", FP16, python=nowhere)
    with pytest.raises(ExportError, match="not an ONNX model"):
        convert_file(broken, tmp_path / "out.rknn", FP16, python=nowhere)


def test_a_missing_converter_environment_names_the_command_that_makes_it(tmp_path: Path) -> None:
    graph = small_shufflenet()
    (tmp_path / "model.onnx").write_bytes(export_onnx(graph, *random_weights(graph, 0)))
    with pytest.raises(ConversionError, match="make rknn") as caught:
        convert_file(tmp_path / "model.onnx", tmp_path / "out.rknn", FP16, python=Path("/nonexistent/python"))
    assert caught.value.failure is ConversionFailure.CONVERTER_FAULT


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A sound ONNX file."""
    graph = small_shufflenet()
    file = tmp_path / "model.onnx"
    file.write_bytes(export_onnx(graph, *random_weights(graph, 0)))
    return file


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 1, 32, 32), "images of shape .*, the model takes"),
        ((2, 32, 32, 3), "channels come before height and width"),
    ],
)
def test_images_of_another_shape_than_the_model_takes_are_refused(
    tmp_path: Path, model: Path, shape: tuple[int, ...], words: str
) -> None:
    np.save(tmp_path / "images.npy", np.ones(shape, np.float32))
    int8 = RknnSettings(dtype=Dtype.W8A8)
    with pytest.raises(ExportError, match=words):
        convert_file(model, tmp_path / "out.rknn", int8, calibration_file=tmp_path / "images.npy")


def test_images_for_a_conversion_that_uses_none_are_refused(tmp_path: Path, model: Path) -> None:
    np.save(tmp_path / "images.npy", np.ones((2, 3, 32, 32), np.float32))
    with pytest.raises(ExportError, match="fp16 needs no calibration images"):
        convert_file(model, tmp_path / "out.rknn", FP16, calibration_file=tmp_path / "images.npy")


def test_the_source_is_never_written_over_and_a_missing_folder_is_said_first(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ExportError, match="is the ONNX file itself"):
        convert_file(model, model, FP16)
    with pytest.raises(ExportError, match="there is no folder"):
        convert_file(model, tmp_path / "nowhere" / "out.rknn", FP16)


def test_the_converter_is_found_from_any_folder_beside_the_environment_we_run_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "clone/.venv-rknn/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.delenv("HILNAS_RKNN_PYTHON", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.prefix", str(tmp_path / "elsewhere/.venv"))
    assert installed_converter() is None
    monkeypatch.setattr("sys.prefix", str(tmp_path / "clone/.venv"))
    assert installed_converter() == python
    monkeypatch.setattr("sys.prefix", str(tmp_path / "elsewhere/.venv"))
    monkeypatch.chdir(tmp_path / "clone")
    assert find_converter()[0] == str(python)


def test_the_converter_is_found_through_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.touch()
    monkeypatch.setenv("HILNAS_RKNN_PYTHON", str(python))
    assert find_converter()[0] == str(python)
