"""Folders of images as people have them: every layout that is read, what is left out counted, every fault named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.kinds.datasets import SourceKind
from nas_engine.training.data.dataset import ImageDataset, Split
from nas_engine.training.data.folder import load_folder
from nas_engine.training.data.folder_layout import read_layout
from nas_engine.training.data.problems import Problems
from nas_engine.training.data.source import DatasetSource, open_dataset

GREY_LEVELS = {"cat": 40, "dog": 200}


def _open(path: Path, **options: int) -> ImageDataset:
    return open_dataset(DatasetSource(kind=SourceKind.FOLDER, path=str(path), **options))


def _write(path: Path, level: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


def _write_classes(folder: Path, num: int = 4, inner: str = "") -> None:
    for name, level in GREY_LEVELS.items():
        for number in range(num):
            _write(folder / name / inner / f"{name}{number}.png", level)


def _levels(split: Split) -> list[tuple[int, int]]:
    """(label, grey level) of each image."""
    pixels = split.load(np.arange(len(split)))
    return [(int(label), int(image[0, 0, 0])) for label, image in zip(split.labels, pixels, strict=True)]


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Val", "Test"),
        ("TRAIN", "Validation", "TEST"),
        ("Training", "valid", "Testing"),
        ("training_set", "Val-Set", "test_set"),
    ],
)
def test_parts_may_be_written_in_capitals(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for name, num in zip(names, (6, 3, 2), strict=True):
        _write_classes(tmp_path / name, num)
    dataset = _open(tmp_path)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (12, 6, 4)
    assert dataset.notices == ()


def test_of_two_folders_for_one_part_the_other_is_named(tmp_path: Path) -> None:
    for name in ("train", "test", "tests", "Train"):
        _write_classes(tmp_path / name)
    assert _open(tmp_path).notices == ("not read: Train/, beside a folder of the same meaning",)


def test_a_fault_that_ends_the_reading_is_counted_once(tmp_path: Path) -> None:
    problems = Problems("the folder")
    with problems.gathered():
        read_layout(tmp_path, problems)
    assert problems.listed == (
        "the folder holds 0 class folders, two or more are needed: put each class's images in a folder of its own",
    )
    assert len(problems) == 1


class TestTinyImageNet:
    def _write(self, root: Path, lines: str | None = None) -> None:
        _write_classes(root / "train", 5, "images")
        for name in GREY_LEVELS:
            (root / "train" / name / f"{name}_boxes.txt").write_text("cat0.png\t0\t0\t62\t62\n", encoding="utf-8")
        annotated = ""
        for number, name in enumerate(["dog", "cat", "dog", "cat"]):
            _write(root / "val" / "images" / f"val_{number}.JPEG", GREY_LEVELS[name])
            annotated += f"val_{number}.JPEG\t{name}\t0\t0\t44\t62\n"
        (root / "val" / "val_annotations.txt").write_text(lines or annotated, encoding="utf-8")
        for number in range(3):
            _write(root / "test" / "images" / f"test_{number}.JPEG", 0)
        (root / "wnids.txt").write_text("cat\ndog\n", encoding="utf-8")

    def test_is_read_as_it_is_unpacked(self, tmp_path: Path) -> None:
        self._write(tmp_path)
        dataset = _open(tmp_path)
        assert dataset.classes == ("cat", "dog")
        assert (len(dataset.train), len(dataset.validation)) == (8, 2)
        assert _levels(dataset.train) == [(0, 40)] * 4 + [(1, 200)] * 4
        assert _levels(dataset.test) == [(0, 40)] * 2 + [(1, 200)] * 2
        assert dataset.notices == (
            "not read: 2 files of other suffixes: 2 .txt (first train/cat/cat_boxes.txt)",
            "not read: 3 images without labels in test",
        )

    def test_every_line_that_is_wrong_is_named(self, tmp_path: Path) -> None:
        self._write(tmp_path, "val_0.JPEG\tdog\nval_1.JPEG\tcow\nval_9.JPEG\tdog\nval_2.JPEG\n\nval_0.JPEG\tcat\n")
        with pytest.raises(DatasetError, match=r"has 4 problems") as refused:
            _open(tmp_path)
        assert [problem.removeprefix("val/val_annotations.txt ") for problem in refused.value.problems] == [
            "line 2 has class 'cow', which is not among the training classes",
            "line 3 names 'val_9.JPEG', which is not there",
            "line 4 is 'val_2.JPEG': it must begin with a file's name and its class",
            "line 6 gives 'val_0.JPEG' another class than a line before",
        ]

    def test_images_without_labels_alone_are_no_test_set(self, tmp_path: Path) -> None:
        _write_classes(tmp_path / "train")
        _write(tmp_path / "test" / "images" / "0.png", 0)
        with pytest.raises(DatasetError, match="a test/ whose images have no labels and no val/"):
            _open(tmp_path)
        _write(tmp_path / "val" / "images" / "0.png", 0)
        with pytest.raises(DatasetError, match=r"val has folders of none of the 2 training classes and no \*_annot"):
            _open(tmp_path)


def test_what_is_not_read_is_counted_and_named(tmp_path: Path) -> None:
    _write_classes(tmp_path)
    for number in range(3):
        _write(tmp_path / "cat" / "kittens" / f"{number}.png", 1)
    _write(tmp_path / "cat" / "kittens" / "small" / "x.tif", 1)
    for name in ("cat/a.heic", "dog/b.HEIC", "dog/notes.txt", "dog/.DS_Store", "dog/Thumbs.db", "cat/none"):
        (tmp_path / name).write_bytes(b"x")
    _write(tmp_path / "beside.png", 1)
    dataset = _open(tmp_path)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 8
    assert dataset.notices == (
        "not read: 4 images in 2 nested folders: cat/kittens (3), cat/kittens/small (1); "
        "move them up into the folders of their classes",
        "not read: 4 files of other suffixes: 2 .heic (first cat/a.heic), "
        "1 without a suffix (first cat/none), 1 .txt (first dog/notes.txt)",
        "not read: 1 image in the folder itself, beside the class folders",
    )


def test_a_class_whose_images_are_not_read_says_where_they_are(tmp_path: Path) -> None:
    _write_classes(tmp_path)
    for number in range(2):
        _write(tmp_path / "cow" / "brown" / f"{number}.png", 1)
    (tmp_path / "pig").mkdir()
    (tmp_path / "pig" / "1.heic").write_bytes(b"x")
    with pytest.raises(DatasetError, match="has 2 problems") as refused:
        _open(tmp_path)
    assert refused.value.problems == (
        "cow holds no image (but 2 images in 1 nested folder: cow/brown (2)): every class needs some in every part",
        "pig holds no image (but 1 file of other suffixes: 1 .heic (first pig/1.heic)): "
        "every class needs some in every part",
    )


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".webp", ".bmp", ".JPG"])
def test_other_image_formats_are_read(tmp_path: Path, suffix: str) -> None:
    for name, level in GREY_LEVELS.items():
        for number in range(4):
            _write(tmp_path / name / f"{number}{suffix}", level)
    dataset = _open(tmp_path)
    assert [(label, round(level, -1)) for label, level in _levels(dataset.test)] == [(0, 40), (1, 200)]
    assert dataset.notices == ()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_pictures_are_turned_as_their_exif_orientation_says(tmp_path: Path, suffix: str) -> None:
    upright = np.zeros((12, 8, 3), dtype=np.uint8)
    upright[:4] = 255  # white above
    _write_classes(tmp_path)
    lying = Image.fromarray(np.rot90(upright))  # turned to the left; 6 says: turn it to the right to show it
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"lossless": True} if suffix == ".webp" else {}
    lying.save(tmp_path / "cat" / f"a{suffix}", exif=exif, **options)
    Image.fromarray(upright).save(tmp_path / "cat" / "b.png")
    dataset = _open(tmp_path, image_size=8)
    shown = [
        image[:, 0, 0].tolist()
        for split in (dataset.train, dataset.validation, dataset.test)
        for image in split.load(np.arange(len(split)))
        if image.max() == 255
    ]
    # The centre square of 12 rows begins at the third: two white rows are left of four.
    assert shown == [[255, 255, 0, 0, 0, 0, 0, 0]] * 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_brought_upright(tmp_path: Path, orientation: int) -> None:
    """The first row and column as stored are these sides of the scene: EXIF 2.32, section 4.6.4."""
    sides = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "lt", 6: "rt", 7: "rb", 8: "lb"}[orientation]
    scene = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    stored = scene if sides[0] in "tb" else scene.T  # rows of the file run along the side that is named first
    if sides[0] in "br":
        stored = stored[::-1]
    if sides[1] in "br":
        stored = stored[:, ::-1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in GREY_LEVELS:
        for number in range(4):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / name / f"{number}.png", exif=exif)
    dataset = _open(tmp_path)
    assert np.array_equal(dataset.test.load(np.array([0]))[0, :, :, 0], scene)


def test_pictures_with_damaged_exif_data_are_read_as_they_are_stored(tmp_path: Path) -> None:
    _write_classes(tmp_path)
    Image.new("L", (8, 8), 77).save(tmp_path / "cat" / "x.jpg", exif=b"Exif\x00\x00no such thing")
    dataset = _open(tmp_path)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 9


def test_of_sets_on_disk_the_first_faults_say_how_to_find_all(tmp_path: Path) -> None:
    _write_classes(tmp_path, 10)
    options = {"image_size": 8, "channels": 3, "validation_fraction": 0.2, "seed": 0}
    dataset = load_folder(tmp_path, **options, in_memory_bytes=0)  # type: ignore[arg-type]
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"gone since")
    with pytest.raises(DatasetError, match=r"cannot be decoded .*`hilnas datasets check` names every such file") as two:
        dataset.train.load(np.arange(2))
    assert str(two.value).count("cannot be decoded") == 2
    num = len(dataset.train)
    assert num > 5
    with pytest.raises(DatasetError, match=rf"; and {num - 5} more of these {num} images; `hilnas") as many:
        dataset.train.load(np.arange(num))
    assert str(many.value).count("cannot be decoded") == 5


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_laid_on_white(tmp_path: Path, mode: str, channels: int) -> None:
    _write_classes(tmp_path)
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)  # black, and transparent but for a row
    pixels[0, :, 3] = 255
    pixels[1, :, 3] = 128 if mode != "P" else 0
    picture = Image.fromarray(pixels)
    if mode == "P":
        picture = Image.fromarray(np.where(pixels[..., 3] == 255, 0, 1).astype(np.uint8), mode="P")
        picture.putpalette([0, 0, 0, 0, 0, 0])
        picture.info["transparency"] = 1
    else:
        picture = picture.convert(mode)
    for number in range(4):
        picture.save(tmp_path / "cow" / f"{number}.png") if number else (tmp_path / "cow").mkdir()
    dataset = _open(tmp_path, channels=channels)
    cow = dataset.test.load(np.flatnonzero(dataset.test.labels == 1))[0]
    assert cow[:, 0, 0].tolist() == [0, 255 if mode == "P" else 127, *[255] * 6]


def test_every_fault_of_a_folder_is_named_at_once_and_the_first_twenty_written_out(tmp_path: Path) -> None:
    _write_classes(tmp_path / "train", 30)
    _write_classes(tmp_path / "test")
    _write_classes(tmp_path / "test" / "dog")  # cat/ and dog/ within dog/: nested
    for number in range(25):
        (tmp_path / "train" / "cat" / f"cat{number}.png").write_bytes(b"no picture")
    (tmp_path / "test" / "cow").mkdir()
    with pytest.raises(DatasetError, match="has 26 problems") as refused:
        _open(tmp_path)
    problems = refused.value.problems
    assert (len(problems), refused.value.num_problems) == (20, 26)
    assert "test has the classes ['cow']" in problems[0]
    assert problems[1].startswith("train/cat/cat0.png cannot be decoded")
    assert str(refused.value).endswith("- and 6 more")


def test_the_folder_above_is_told_from_the_data_set(tmp_path: Path) -> None:
    _write_classes(tmp_path / "pets" / "train")
    with pytest.raises(DatasetError, match="holds one folder, pets, and that holds train/: give that one"):
        _open(tmp_path)
