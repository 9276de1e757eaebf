"""`hilnas datasets check`: what a data set holds and what is wrong with it, without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.commands import datasets, images
from tests.support.samples.datasets import write_cifar

LEVELS = {"cat": 40, "dog": 200}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contact sheets are written to the current folder, and nothing asks for a server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HILNAS_URL", "http://127.0.0.1:9")


def _write(folder: Path, num: int, start: int = 0, size: tuple[int, int] = (12, 8)) -> None:
    """Pictures of one class whose first pixel tells them apart."""
    folder.mkdir(parents=True)
    for number in range(start, start + num):
        picture = Image.new("RGB", size, (LEVELS.get(folder.name, 0),) * 3)
        picture.putpixel((0, 0), (number, 0, 0))
        picture.save(folder / f"{number}.png")


def _pets(root: Path) -> Path:
    for name in LEVELS:
        _write(root / "Train" / name, 10)
        _write(root / "Test" / name, 4, start=100)
    return root


def _check(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    status = datasets.main(["check", *map(str, argv)])
    return status, capsys.readouterr().out


def _document(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, Any]:
    status, printed = _check(capsys, *argv, "--json")
    return status, json.loads(printed)


def test_images_are_counted_by_class_part_and_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _pets(tmp_path / "pets")
    Image.new("L", (20, 30)).save(root / "Train" / "dog" / "x.tif")
    status, found = _document(capsys, root)
    assert (status, found["kind"], found["classes"], found["num_images"]) == (0, "folder", ["cat", "dog"], 29)
    assert found["counts"] == {"train": [8, 9], "validation": [2, 2], "test": [4, 4]}
    assert found["sizes"] == [
        {"width": 12, "height": 8, "num_images": 28},
        {"width": 20, "height": 30, "num_images": 1},
    ]
    assert (found["num_duplicates"], found["num_problems"], found["notices"]) == (0, 0, [])


def test_the_same_pixels_in_two_parts_are_found_also_under_another_format_and_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = _pets(tmp_path / "pets")
    _write(root / "Validation" / "cat", 1, start=50)
    (root / "Validation" / "dog").mkdir()
    Image.open(root / "Train" / "dog" / "3.png").save(root / "Validation" / "dog" / "other.bmp")
    Image.open(root / "Train" / "cat" / "5.png").save(root / "Test" / "dog" / "wrong.webp", lossless=True)
    Image.open(root / "Train" / "cat" / "5.png").save(root / "Train" / "cat" / "again.png")
    status, found = _document(capsys, root)
    assert (status, found["num_duplicates"]) == (0, 2)
    assert found["duplicates"] == [
        {"first": "Train/dog/3.png", "second": "Validation/dog/other.bmp", "same_class": True},
        {"first": "Train/cat/5.png", "second": "Test/dog/wrong.webp", "same_class": False},
    ]


def test_the_contact_sheet_shows_a_row_of_each_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _pets(tmp_path / "pets")
    status, found = _document(capsys, root, "--sheet", tmp_path / "sheet.png")
    assert (status, found["sheet"]) == (0, str(tmp_path / "sheet.png"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert (sheet.format, sheet.size) == ("PNG", (200 + 8 * 68 + 4, 2 * 68 + 4))
        # 12x8 pictures are 64x43 there: the middle of each has its class's grey, below it is white.
        assert [sheet.getpixel((200 + 32, 4 + row * 68 + 20)) for row in range(2)] == [(40,) * 3, (200,) * 3]
        assert sheet.getpixel((200 + 7 * 68 + 32, 4 + 68 + 20)) == (200,) * 3
        assert sheet.getpixel((200 + 32, 4 + 55)) == (255,) * 3
        assert min(sheet.crop((0, 0, 190, 68)).tobytes()) < 100  # the name


def test_everything_that_is_wrong_is_listed_and_the_rest_still_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = _pets(tmp_path / "pets")
    (root / "Train" / "cat" / "3.png").write_bytes(b"no picture")
    (root / "Test" / "cow").mkdir()
    _write(root / "Train" / "dog" / "puppies", 2)
    status, printed = _check(capsys, root, "--batch-size", 64)
    assert status == 1
    lines = printed.splitlines()
    assert lines[0] == f"{root}: folder, 28 images, 2 classes"
    assert (
        "not read: 2 images in 1 nested folder: Train/dog/puppies (2); move them up into the folders of their"
        in printed
    )
    wrong = lines[lines.index("problems: 3") + 1 :]
    assert wrong[0].startswith("- Test has the classes ['cow'], which are not among the training classes")
    assert wrong[1].startswith("- batch_size 64 exceeds the 16 training images of data set 'pets'")
    assert wrong[2].startswith("- Train/cat/3.png cannot be decoded")
    assert wrong[3] == "contact sheet: contact_sheet.png"
    assert (tmp_path / "contact_sheet.png").exists()


def test_published_files_and_arrays_are_recognised_by_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cifar").mkdir()
    write_cifar(tmp_path / "cifar")
    status, found = _document(capsys, tmp_path / "cifar", "--no-sheet")
    assert (status, found["kind"], found["num_images"], found["sheet"]) == (0, "cifar10", 120, None)
    assert found["counts"] == {"train": [8] * 10, "validation": [2] * 10, "test": [2] * 10}
    pixels = np.arange(30 * 4, dtype=np.uint8).reshape(30, 2, 2)
    np.savez(tmp_path / "d.npz", x=pixels, y=np.arange(30) % 3 + 1)
    status, found = _document(capsys, tmp_path / "d.npz")
    assert (status, found["kind"], found["num_images"], found["sheet"]) == (1, "npz", 0, None)
    assert "labels run from 1 to 3: they count from 1" in found["problems"][0]
    np.savez(tmp_path / "d.npz", x=pixels, y=np.arange(30) % 3)
    status, found = _document(capsys, tmp_path / "d.npz")
    assert (status, found["num_images"], found["sizes"]) == (0, 30, [{"width": 2, "height": 2, "num_images": 30}])


def test_packing_says_what_was_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = _pets(tmp_path / "pets")
    (root / "Test" / "dog" / "notes.txt").write_text("x", encoding="utf-8")
    status = images.main(["pack", "out.bin", "--data", str(root), "--image-size", "8"])
    printed = capsys.readouterr()
    assert status == 0
    assert printed.err == "not read: 1 file of other suffixes: 1 .txt (first Test/dog/notes.txt)\n"
