"""Files around a conversion by hand: what is wrong with one is said before a converter is started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nas_engine.domain.environment import Dtype
from nas_engine.domain.errors import ConversionError, ConversionFailure, ExportError
from nas_engine.export.convert_file import convert_file, read_calibration
from nas_engine.export.onnx import export_onnx
from nas_engine.export.random_weights import random_weights
from nas_engine.export.rknn import find_converter
from nas_engine.export.rknn_settings import RknnSettings
from tests.sample_graphs import small_shufflenet

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


def test_the_converter_is_found_through_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.touch()
    monkeypatch.setenv("HILNAS_RKNN_PYTHON", str(python))
    assert find_converter()[0] == str(python)
