"""Models whose weights lie beside them, or in an archive with them, become one file."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from nas_engine.domain.errors import ExportError
from nas_engine.export.one_file import read_model
from tests.support.samples.odd_models import embedding, with_weights_outside


def test_a_file_that_is_whole_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(embedding(3))
    assert read_model(tmp_path / "m.onnx") == embedding(3)


def test_weights_beside_the_model_are_put_in(tmp_path: Path) -> None:
    model = with_weights_outside(tmp_path)
    (tensor,) = onnx.load_from_string(read_model(model)).graph.initializer
    assert not tensor.external_data
    assert np.array_equal(onnx.numpy_helper.to_array(tensor), np.ones((576, 576), np.float32))


def test_a_model_in_an_archive_is_read_with_its_weights(tmp_path: Path) -> None:
    model = with_weights_outside(tmp_path)
    for folder in ("", "deep/er/"):
        archive = tmp_path / "model.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.write(model, f"{folder}model.onnx")
            file.write(tmp_path / "weights.bin", f"{folder}weights.bin")
            file.writestr(f"__MACOSX/{folder}._model.onnx", b"")
        assert read_model(archive) == read_model(model)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    model = with_weights_outside(tmp_path)
    shutil.move(tmp_path / "weights.bin", tmp_path / "elsewhere.bin")
    with pytest.raises(ExportError, match=r"keeps weights in weights\.bin, which is not beside it: put both into one"):
        read_model(model)


def test_weights_that_are_a_pointer_of_git_lfs_are_named(tmp_path: Path) -> None:
    path = with_weights_outside(tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ExportError, match=r"weights\.bin is a Git LFS pointer.*git lfs pull"):
        read_model(path)


def test_weights_that_are_cut_short_are_refused(tmp_path: Path) -> None:
    model = with_weights_outside(tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"short")
    with pytest.raises(ExportError, match=r"weights of 'w' cannot be read from weights\.bin|weights of 'w'"):
        read_model(model)


@pytest.mark.parametrize("place", ["../weights.bin", "/etc/passwd", ""])
def test_nothing_outside_the_models_folder_is_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "in").mkdir()
    model = with_weights_outside(tmp_path / "in")
    changed = onnx.load(model, load_external_data=False)
    changed.graph.initializer[0].external_data[0].value = place
    model.write_bytes(changed.SerializeToString())
    with pytest.raises(ExportError, match="outside the model's folder"):
        read_model(model)


def test_a_link_that_leads_outside_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    model = with_weights_outside(tmp_path / "in")
    shutil.move(tmp_path / "in" / "weights.bin", tmp_path / "weights.bin")
    (tmp_path / "in" / "weights.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(ExportError, match="cannot be read from"):
        read_model(model)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), r"holds 0 \.onnx files"),
        (("archive/data.pkl", "archive/version"), r"holds 0 \.onnx files \(archive/data\.pkl, archive/version\)"),
        (("a.onnx", "b.onnx"), r"holds 2 \.onnx files \(a\.onnx, b\.onnx\)"),
    ],
)
def test_an_archive_of_none_or_several_models_is_refused(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    with pytest.raises(ExportError, match=words):
        read_model(archive)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("m.onnx", bytes(1 << 20))
        file.infolist()[0].file_size = 600 << 20  # what the directory says is what would be unpacked
    with pytest.raises(ExportError, match="holds 1 files of 629145600 bytes"):
        read_model(archive)
