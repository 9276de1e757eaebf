"""Small data sets that tests train on and read from files."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas_engine.training.data.dataset import ArraySplit, ImageDataset, make_dataset


def striped_images(
    num_images: int, *, size: int = 8, num_classes: int = 3, channels: int = 1, seed: int = 0
) -> ArraySplit:
    """Noisy images whose class is the position of a bright stripe: learnable within seconds."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_images, dtype=np.int64) % num_classes
    pixels = rng.integers(0, 120, size=(num_images, size, size, channels), dtype=np.uint8)
    width = size // num_classes
    for image, label in zip(pixels, labels, strict=True):
        image[:, label * width : (label + 1) * width] += 100
    return ArraySplit(pixels, labels)


def striped_dataset(num_images: int = 120, *, size: int = 8, num_classes: int = 3, channels: int = 1) -> ImageDataset:
    """A whole data set of striped images."""
    train, test = (
        striped_images(n, size=size, num_classes=num_classes, channels=channels, seed=s)
        for n, s in ((num_images, 1), (num_images // 2, 2))
    )
    return make_dataset("stripes", train, test, tuple(f"stripe{i}" for i in range(num_classes)))


def write_registry(folder: Path, sets: Mapping[str, int], num_images: int = 120, *, size: int = 8) -> Path:
    """A file that registers striped data sets by name, with so many classes each; a name that ships is replaced."""
    entries = {}
    for name, num_classes in sets.items():
        train, test = (
            striped_images(n, size=size, num_classes=num_classes, seed=s)
            for n, s in ((num_images, 1), (num_images // 2, 2))
        )
        path = folder / f"{name}.npz"
        np.savez(path, x_train=train.pixels, y_train=train.labels, x_test=test.pixels, y_test=test.labels)
        entries[name] = {"kind": "npz", "path": str(path), "num_classes": num_classes}
    registry = folder / "datasets.json"
    registry.write_text(json.dumps(entries))
    return registry


def small_embedded_set(folder: Path) -> Path:
    """A file that puts a tenth as many images in the place of the embedded data set, for what only wants some."""
    return write_registry(folder, {"fashion-mnist-12k": 10}, 1_000, size=28)


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """An IDX file of bytes, gzipped when its name ends in .gz."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_cifar(folder: Path, per_file: int = 20, seed: int = 0) -> None:
    """A small CIFAR-10 in the published binary version."""
    rng = np.random.default_rng(seed)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, size=(per_file, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(per_file) % 10
        (folder / name).write_bytes(records.tobytes())
