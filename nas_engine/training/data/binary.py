"""CIFAR-10 and Fashion-MNIST (MNIST) in their published binary formats. No pickle is ever read.

Formats: https://www.cs.toronto.edu/~kriz/cifar.html (binary version: records of one label byte and
3,072 pixel bytes, channel by channel) and the IDX format of the MNIST family (big-endian header).
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from nas_engine.domain.errors import DatasetError
from nas_engine.training.data.dataset import ArraySplit, ImageDataset, Labels, Pixels, make_dataset
from nas_engine.training.data.files import fit_array, read_bytes, require_folder

CIFAR_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR_TEST = "test_batch.bin"
CIFAR_RECORD = 1 + 3 * 32 * 32
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION_CLASSES = (
    "t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
IDX_UINT8 = 0x08


def load_cifar10(
    folder: Path, *, image_size: int | None, channels: int | None, validation_fraction: float, seed: int
) -> ImageDataset:
    """CIFAR-10, binary version: ``data_batch_1.bin`` ... ``data_batch_5.bin``, ``test_batch.bin``.

    Raises:
        DatasetError: a file is missing or malformed; the Python (pickle) version is named and refused.
    """
    require_folder(folder)
    if not (folder / CIFAR_TEST).exists() and (folder / "test_batch").exists():
        raise DatasetError(
            f"{folder} holds the Python version of CIFAR-10: it is pickled, and unpickling runs code from the file. "
            "Download the binary version (cifar-10-binary.tar.gz) from the same page"
        )
    parts = [_cifar_file(folder / name) for name in CIFAR_TRAIN]
    pixels, labels = np.concatenate([p for p, _ in parts]), np.concatenate([y for _, y in parts])
    test_pixels, test_labels = _cifar_file(folder / CIFAR_TEST)
    return make_dataset(
        "cifar10",
        ArraySplit(fit_array(pixels, image_size, channels), labels),
        ArraySplit(fit_array(test_pixels, image_size, channels), test_labels),
        _cifar_classes(folder),
        validation_fraction=validation_fraction,
        seed=seed,
    )


def load_idx(
    folder: Path,
    *,
    name: str = "fashion-mnist",
    image_size: int | None,
    channels: int | None,
    validation_fraction: float,
    seed: int,
) -> ImageDataset:
    """Fashion-MNIST (or MNIST) IDX files, gzipped or not: ``train-images-idx3-ubyte[.gz]`` and its three siblings.

    Raises:
        DatasetError: a file is missing, is no IDX file, or its length disagrees with its header.
    """
    require_folder(folder)
    splits = []
    for part in ("train", "t10k"):
        pixels = _read_idx(_idx_file(folder, f"{part}-images-idx3-ubyte"), 3)[:, :, :, None]
        labels = _read_idx(_idx_file(folder, f"{part}-labels-idx1-ubyte"), 1).astype(np.int64)
        if len(pixels) != len(labels):
            raise DatasetError(f"{folder}: {part} has {len(pixels)} images and {len(labels)} labels")
        splits.append(ArraySplit(fit_array(pixels, image_size, channels), labels))
    classes = FASHION_CLASSES if name == "fashion-mnist" else tuple(str(digit) for digit in range(10))
    return make_dataset(name, splits[0], splits[1], classes, validation_fraction=validation_fraction, seed=seed)


def _cifar_file(path: Path) -> tuple[Pixels, Labels]:
    content = read_bytes(path)
    if not content or len(content) % CIFAR_RECORD:
        raise DatasetError(
            f"{path} has {len(content)} bytes, which is no multiple of {CIFAR_RECORD} (one label and 32x32x3 pixels): "
            "it is damaged or not the binary version of CIFAR-10"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, CIFAR_RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() > 9:
        raise DatasetError(f"{path}: record {int(labels.argmax())} has label {labels.max()}, CIFAR-10 has 0 to 9")
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), labels


def _cifar_classes(folder: Path) -> tuple[str, ...]:
    path = folder / "batches.meta.txt"
    if not path.exists():
        return CIFAR_CLASSES
    names = tuple(line.strip() for line in read_bytes(path).decode("utf-8", "replace").splitlines() if line.strip())
    if len(names) != 10:
        raise DatasetError(f"{path} names {len(names)} classes, CIFAR-10 has 10")
    return names


def _idx_file(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.exists():
            return candidate
    raise DatasetError(f"{folder} has neither {name}.gz nor {name}: all four IDX files are needed")


def _read_idx(path: Path, num_dimensions: int) -> Pixels:
    content = read_bytes(path)
    header_bytes = 4 + 4 * num_dimensions
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DatasetError(f"{path} is no IDX file: it must start with two zero bytes and a header")
    kind, dimensions = content[2], content[3]
    if kind != IDX_UINT8 or dimensions != num_dimensions:
        raise DatasetError(
            f"{path} holds type 0x{kind:02x} in {dimensions} dimensions, expected bytes (0x08) in {num_dimensions}"
        )
    if len(content) < header_bytes:
        raise DatasetError(f"{path} ends within its header: it is damaged")
    shape: tuple[int, ...] = struct.unpack(f">{num_dimensions}I", content[4:header_bytes])
    expected = int(np.prod([int(size) for size in shape], dtype=object))
    if expected != len(content) - header_bytes or expected == 0:
        raise DatasetError(
            f"{path} announces {shape} = {expected} bytes and holds {len(content) - header_bytes}: it is damaged"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header_bytes).reshape(shape)
