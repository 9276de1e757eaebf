"""Data sets in files: published formats are read exactly, malformed files are refused by name."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.kinds.datasets import SourceKind
from nas_engine.training.data.dataset import ImageDataset
from nas_engine.training.data.files import read_bytes
from nas_engine.training.data.folder import load_folder
from nas_engine.training.data.source import DatasetSource, open_dataset
from tests.support.samples.datasets import striped_images, write_cifar, write_idx


def _open(kind: SourceKind, path: Path, **options: int) -> ImageDataset:
    return open_dataset(DatasetSource(kind=kind, path=str(path), **options))


def _write_idx_set(folder: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        images = rng.integers(0, 256, size=(count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels)


def _write_pictures(folder: Path, num: int = 4, size: tuple[int, int] = (10, 10), mode: str = "RGB") -> None:
    rng = np.random.default_rng(len(str(folder)))
    folder.mkdir(parents=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    for i in range(num):
        Image.fromarray(rng.integers(0, 256, size=shape, dtype=np.uint8)).save(folder / f"{i}.png")


class TestCifar10:
    def test_the_binary_version_is_read_channel_by_channel(self, tmp_path: Path) -> None:
        write_cifar(tmp_path)
        dataset = _open(SourceKind.CIFAR10, tmp_path)
        assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (100, 20)
        record = (tmp_path / "test_batch.bin").read_bytes()[:3073]
        image = dataset.test.load(np.array([0]))[0]
        assert dataset.test.labels[0] == record[0]
        assert image[0, 1].tolist() == [record[1 + 1], record[1 + 1024 + 1], record[1 + 2048 + 1]]
        assert dataset.classes[3] == "cat"

    def test_the_pickled_version_is_refused_with_the_reason(self, tmp_path: Path) -> None:
        (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": []}))
        with pytest.raises(DatasetError, match=r"pickled.*binary version"):
            _open(SourceKind.CIFAR10, tmp_path)

    def test_missing_cut_and_mislabelled_files_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"data_batch_1\.bin does not exist"):
            _open(SourceKind.CIFAR10, tmp_path)
        write_cifar(tmp_path)
        path = tmp_path / "data_batch_3.bin"
        content = bytearray(path.read_bytes())
        path.write_bytes(content[:-5])
        with pytest.raises(DatasetError, match=r"data_batch_3\.bin has .* no multiple of 3073"):
            _open(SourceKind.CIFAR10, tmp_path)
        content[3073 * 4] = 200
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="record 4 has label 200"):
            _open(SourceKind.CIFAR10, tmp_path)
        with pytest.raises(DatasetError, match="not a folder"):
            _open(SourceKind.CIFAR10, tmp_path / "nowhere")

    def test_all_that_is_wrong_with_the_files_is_said_at_once(self, tmp_path: Path) -> None:
        write_cifar(tmp_path)
        (tmp_path / "data_batch_2.bin").unlink()
        (tmp_path / "data_batch_4.bin").write_bytes(b"cut")
        (tmp_path / "batches.meta.txt").write_text("cat\ndog\n", encoding="utf-8")
        with pytest.raises(DatasetError, match="has 3 problems") as refused:
            _open(SourceKind.CIFAR10, tmp_path)
        assert [problem.removeprefix(f"{tmp_path}/").split(" ")[0] for problem in refused.value.problems] == [
            "data_batch_2.bin",
            "data_batch_4.bin",
            "batches.meta.txt",
        ]


class TestCifar100:
    def _write(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        for name, count in (("train.bin", 300), ("test.bin", 100)):
            records = rng.integers(0, 256, size=(count, 3074), dtype=np.uint8)
            records[:, 0], records[:, 1] = np.arange(count) % 20, np.arange(count) % 100
            (folder / name).write_bytes(records.tobytes())

    def test_the_binary_version_is_read_by_its_fine_labels(self, tmp_path: Path) -> None:
        self._write(tmp_path)
        names = [f"name{number}" for number in range(100)]
        (tmp_path / "fine_label_names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        dataset = _open(SourceKind.CIFAR100, tmp_path)
        assert (dataset.name, len(dataset.train) + len(dataset.validation), len(dataset.test)) == ("cifar100", 300, 100)
        assert dataset.classes == tuple(names)
        record = (tmp_path / "test.bin").read_bytes()[3074 * 42 : 3074 * 43]
        assert dataset.test.labels[42] == record[1] == 42
        image = dataset.test.load(np.array([42]))[0]
        assert image[1, 0].tolist() == [record[2 + 32], record[2 + 1024 + 32], record[2 + 2048 + 32]]

    def test_the_pickled_version_and_other_files_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "test").write_bytes(pickle.dumps({"data": []}))
        with pytest.raises(DatasetError, match=r"CIFAR-100: it is pickled.*cifar-100-binary\.tar\.gz"):
            _open(SourceKind.CIFAR100, tmp_path)
        self._write(tmp_path)
        content = bytearray((tmp_path / "train.bin").read_bytes())
        content[3074 * 7 + 1] = 100
        (tmp_path / "train.bin").write_bytes(content)
        with pytest.raises(DatasetError, match=r"record 7 has label 100, CIFAR-100 has 0 to 99"):
            _open(SourceKind.CIFAR100, tmp_path)


class TestIdx:
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    def test_gzipped_and_plain_files_are_read(self, tmp_path: Path, suffix: str) -> None:
        _write_idx_set(tmp_path, suffix)
        dataset = _open(SourceKind.FASHION_MNIST, tmp_path)
        assert dataset.train.image_shape == (28, 28, 1)
        assert len(dataset.test) == 20
        assert dataset.classes[9] == "ankle boot"
        assert _open(SourceKind.MNIST, tmp_path).classes[9] == "9"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "no IDX file"),
            (b"\x1f\x8bgarbage", "no IDX file"),
            (b"\0\0\x0d\x03" + b"\0\0\0\1" * 3 + b"x" * 4, "type 0x0d"),
            (b"\0\0\x08\x01" + b"\0\0\0\1" + b"x", "expected bytes"),
            (b"\0\0\x08\x03" + b"\xff\xff\xff\xff" * 3 + b"x", "damaged"),
            (b"\0\0\x08\x03" + b"\0\0\0\0" * 3, "damaged"),
        ],
    )
    def test_damaged_headers_are_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        _write_idx_set(tmp_path, "")
        (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
        with pytest.raises(DatasetError, match=message):
            _open(SourceKind.FASHION_MNIST, tmp_path)

    def test_damaged_gzip_and_missing_siblings_are_named(self, tmp_path: Path) -> None:
        _write_idx_set(tmp_path, ".gz")
        path = tmp_path / "t10k-labels-idx1-ubyte.gz"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(DatasetError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read"):
            _open(SourceKind.FASHION_MNIST, tmp_path)
        path.unlink()
        with pytest.raises(DatasetError, match="all four IDX files"):
            _open(SourceKind.FASHION_MNIST, tmp_path)

    def test_counts_must_agree(self, tmp_path: Path) -> None:
        _write_idx_set(tmp_path, "")
        write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(59, dtype=np.uint8))
        with pytest.raises(DatasetError, match="60 images and 59 labels"):
            _open(SourceKind.FASHION_MNIST, tmp_path)


class TestNpz:
    def _save(self, path: Path, **arrays: object) -> Path:
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return path

    def test_train_and_test_pairs_with_classes(self, tmp_path: Path) -> None:
        train, test = striped_images(60), striped_images(30, seed=1)
        path = self._save(
            tmp_path / "d.npz",
            x_train=train.pixels[..., 0],
            y_train=train.labels,
            x_test=test.pixels[..., 0],
            y_test=test.labels[:, None],
            classes=np.array(["left", "middle", "right"]),
        )
        dataset = _open(SourceKind.NPZ, path)
        assert dataset.classes == ("left", "middle", "right")
        assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (48, 12, 30)

    def test_one_pair_is_split_three_ways_without_overlap(self, tmp_path: Path) -> None:
        pixels = np.arange(100 * 9, dtype=np.int64).reshape(100, 3, 3)
        images = np.stack([pixels // 256, pixels % 256, np.zeros_like(pixels)], axis=1).astype(np.uint8)
        path = self._save(tmp_path / "d.npz", images=images, labels=np.arange(100) % 4)
        dataset = _open(SourceKind.NPZ, path)
        splits = (dataset.train, dataset.validation, dataset.test)
        seen = [image.tobytes() for s in splits for image in s.load(np.arange(len(s)))]
        assert len(seen) == len(set(seen)) == 100
        assert dataset.train.image_shape == (3, 3, 3)

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"a": np.zeros(3)}, "holds no images"),
            ({"x": np.zeros((4, 2, 2), np.uint8)}, "stands alone"),
            ({"x_train": np.zeros((4, 2, 2), np.uint8), "y_train": np.zeros(4, int)}, "no x_test"),
            ({"x": np.zeros((4, 2, 2)), "y": np.zeros(4, int)}, "float64: save pixels as uint8"),
            ({"x": np.zeros((4, 2, 2, 7), np.uint8), "y": np.zeros(4, int)}, "must be"),
            ({"x": np.zeros((4, 2), np.uint8), "y": np.zeros(4, int)}, "must be"),
            ({"x": np.zeros((4, 2, 2), np.uint8), "y": np.zeros(4)}, "labels must be integers"),
            ({"x": np.zeros((4, 2, 2), np.uint8), "y": np.array([0, 0, 1, None])}, "Python objects"),
            ({"x": np.zeros((8, 2, 2), np.uint8), "y": np.zeros(7, int)}, "8 images and y 7 labels"),
            ({"x": np.zeros((4, 2, 2), np.uint8), "y": np.arange(4) - 1}, "runs from -1 to 2"),
            ({"x": np.zeros((4, 2, 2), np.uint8), "y": np.arange(4) * 10**9}, "to 3000000000: labels must be class"),
            ({"x": np.zeros((4, 2, 2), np.uint8), "y": np.full(4, 2**63, np.uint64)}, "labels must be class indices"),
        ],
    )
    def test_malformed_archives_are_refused(self, tmp_path: Path, arrays: dict[str, object], message: str) -> None:
        with pytest.raises(DatasetError, match=message):
            _open(SourceKind.NPZ, self._save(tmp_path / "d.npz", **arrays))

    def test_labels_that_count_from_one_are_said_to_and_make_no_empty_class(self, tmp_path: Path) -> None:
        images = np.zeros((12, 2, 2), np.uint8)
        named = {"classes": np.array(["a", "b", "c"])}
        for more in ({}, named):
            path = self._save(tmp_path / "d.npz", x=images, y=np.arange(12) % 3 + 1, **more)
            with pytest.raises(DatasetError, match=r"labels run from 1 to 3.*count from 1.*subtract 1"):
                _open(SourceKind.NPZ, path)
        path = self._save(tmp_path / "d.npz", x=images, y=np.arange(12) % 3 * 2)
        with pytest.raises(DatasetError, match=r"no training image is of class 1 \(1\), 3 \(3\)"):
            _open(SourceKind.NPZ, path)

    def test_every_array_that_is_wrong_is_named_at_once(self, tmp_path: Path) -> None:
        path = self._save(
            tmp_path / "d.npz",
            x_train=np.zeros((4, 2, 2)),
            y_train=np.zeros(4),
            x_test=np.zeros((3, 2, 2), np.uint8),
            y_test=np.zeros(2, int),
            x_val=np.zeros((3, 2, 2), np.uint8),
        )
        with pytest.raises(DatasetError, match="has 4 problems") as refused:
            _open(SourceKind.NPZ, path)
        beginnings = [problem.split(" ")[0] for problem in refused.value.problems]
        assert beginnings == ["x_train", "y_train", "x_test", "x_val"]

    def test_an_archive_with_damaged_content_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "d.npz"
        pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
        np.savez_compressed(path, x=pixels, y=np.arange(40) % 4)
        content = bytearray(path.read_bytes())
        content[100:200] = b"\xff" * 100
        path.write_bytes(bytes(content))
        with pytest.raises(DatasetError, match=r"d\.npz cannot be read"):
            _open(SourceKind.NPZ, path)

    def test_files_that_are_no_archive_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "d.npz"
        for content in (b"", b"hello", b"PK\x03\x04 cut"):
            path.write_bytes(content)
            with pytest.raises(DatasetError, match=r"d\.npz"):
                _open(SourceKind.NPZ, path)
        np.save(tmp_path / "d.npy", np.zeros(3))
        with pytest.raises(DatasetError, match="single array"):
            _open(SourceKind.NPZ, tmp_path / "d.npy")
        with pytest.raises(DatasetError, match="does not exist"):
            _open(SourceKind.NPZ, tmp_path / "nothing.npz")


class TestFolder:
    def test_train_and_test_folders_of_classes(self, tmp_path: Path) -> None:
        for part in ("train", "test"):
            for name in ("cat", "dog"):
                _write_pictures(tmp_path / part / name, 6)
        dataset = _open(SourceKind.FOLDER, tmp_path)
        assert dataset.classes == ("cat", "dog")
        assert dataset.train.image_shape == (10, 10, 3)
        sizes = (len(dataset.train), len(dataset.validation), len(dataset.test))
        assert sizes == (10, 2, 12)
        with Image.open(tmp_path / "test" / "cat" / "0.png") as file:
            assert np.array_equal(dataset.test.load(np.array([0]))[0], np.asarray(file))

    def test_where_there_is_val_but_no_test_it_is_the_test_set(self, tmp_path: Path) -> None:
        for part in ("train", "val"):
            for name in ("cat", "dog"):
                _write_pictures(tmp_path / part / name, 5)
        dataset = _open(SourceKind.FOLDER, tmp_path)
        assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (8, 2, 10)

    def test_classes_right_under_the_root_are_split_three_ways(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            _write_pictures(tmp_path / name, 10, mode="L")
        dataset = _open(SourceKind.FOLDER, tmp_path)
        assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (12, 4, 4)
        assert dataset.train.image_shape == (10, 10, 1)

    def test_files_on_disk_give_the_same_images_as_in_memory_and_reproducible_crops(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            _write_pictures(tmp_path / name, 10, size=(30, 20))
        options = {"image_size": 16, "channels": 3, "validation_fraction": 0.2, "seed": 0}
        memory = load_folder(tmp_path, **options)  # type: ignore[arg-type]
        disk = load_folder(tmp_path, **options, in_memory_bytes=0)  # type: ignore[arg-type]
        some = np.array([3, 1])
        assert not memory.train.crops_on_load
        assert disk.train.crops_on_load
        assert np.array_equal(memory.train.load(some), disk.train.load(some))
        crops = disk.train.load(some, np.array([5, 6]))
        assert crops.shape == (2, 16, 16, 3)
        assert np.array_equal(crops, disk.train.load(some, np.array([5, 6])))
        assert not np.array_equal(crops[0], disk.train.load(some, np.array([7, 6]))[0])

    def test_pictures_that_are_not_square_need_a_size(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            _write_pictures(tmp_path / name, size=(30, 20))
        with pytest.raises(DatasetError, match="30x20: give image_size"):
            _open(SourceKind.FOLDER, tmp_path)

    def test_malformed_trees_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="0 class folders"):
            _open(SourceKind.FOLDER, tmp_path)
        _write_pictures(tmp_path / "train" / "a")
        _write_pictures(tmp_path / "train" / "b")
        with pytest.raises(DatasetError, match="neither test/ nor val/"):
            _open(SourceKind.FOLDER, tmp_path)
        _write_pictures(tmp_path / "test" / "a")
        (tmp_path / "test" / "b").mkdir()
        with pytest.raises(DatasetError, match=r"test/b holds no image"):
            _open(SourceKind.FOLDER, tmp_path)
        _write_pictures(tmp_path / "test" / "c")
        with pytest.raises(DatasetError, match=r"\['c'\], which are not among the training classes"):
            _open(SourceKind.FOLDER, tmp_path)

    @pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut"])
    def test_a_picture_that_cannot_be_decoded_is_named(self, tmp_path: Path, content: bytes) -> None:
        for name in ("a", "b"):
            _write_pictures(tmp_path / name)
        (tmp_path / "b" / "2.png").write_bytes(content)
        with pytest.raises(DatasetError, match=r"b/2\.png cannot be decoded"):
            _open(SourceKind.FOLDER, tmp_path)

    def test_a_cut_picture_is_named(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            _write_pictures(tmp_path / name)
        path = tmp_path / "a" / "3.png"
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(DatasetError, match=r"a/3\.png cannot be decoded"):
            _open(SourceKind.FOLDER, tmp_path)

    def test_a_picture_of_more_than_eight_bits_is_refused_not_cut_off(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            _write_pictures(tmp_path / name)
        deep = np.full((20, 20), 40_000, dtype=np.uint16)
        Image.fromarray(deep).save(tmp_path / "b" / "2.png")
        with pytest.raises(DatasetError, match=r"b/2\.png cannot be decoded \(its pixels are of mode I;16"):
            _open(SourceKind.FOLDER, tmp_path)


def test_a_gzip_bomb_is_not_unpacked_without_end(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\0" * 5000))
    assert len(read_bytes(path, max_bytes=5000)) == 5000
    with pytest.raises(DatasetError, match="more than 4000 bytes"):
        read_bytes(path, max_bytes=4000)
