"""CIFAR-10, CIFAR-100 and Fashion-MNIST (MNIST) in their published binary formats. No pickle is ever read.

Formats: https://www.cs.toronto.edu/~kriz/cifar.html (binary version: records of one label byte, of CIFAR-100 two,
and 3,072 pixel bytes, channel by channel) and the IDX format of the MNIST family (big-endian header).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.images import Interpolation
from nas_engine.training.data.dataset import ArraySplit, ImageDataset, Labels, make_dataset
from nas_engine.training.data.decoding.picture import Pixels
from nas_engine.training.data.files import fit_array, read_bytes, require_folder
from nas_engine.training.data.problems import Problems

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION_CLASSES = (
    "t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
IDX_UINT8 = 0x08


@dataclass(frozen=True, slots=True)
class CifarFormat:
    """One of the two CIFAR data sets in its binary version: records of label bytes and 3,072 pixel bytes.

    Attributes:
        title: as it is published.
        train, test: names of the files.
        label_bytes: before the pixels; the last one is the class (CIFAR-100: coarse, then fine label).
        num_classes: of that label.
        names_file: has a class name on each line.
        python_file: of the pickled version, which is refused.
        archive: to download instead.
    """

    title: str
    train: tuple[str, ...]
    test: str
    label_bytes: int
    num_classes: int
    names_file: str
    python_file: str
    archive: str

    @property
    def record_bytes(self) -> int:
        """Size of a label with its image."""
        return self.label_bytes + 3 * 32 * 32


CIFAR10 = CifarFormat(
    title="CIFAR-10",
    train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test="test_batch.bin",
    label_bytes=1,
    num_classes=10,
    names_file="batches.meta.txt",
    python_file="test_batch",
    archive="cifar-10-binary.tar.gz",
)
CIFAR100 = CifarFormat(
    title="CIFAR-100",
    train=("train.bin",),
    test="test.bin",
    label_bytes=2,
    num_classes=100,
    names_file="fine_label_names.txt",
    python_file="test",
    archive="cifar-100-binary.tar.gz",
)


def load_cifar(
    folder: Path,
    cifar: CifarFormat,
    *,
    image_size: int | None,
    channels: int | None,
    validation_fraction: float,
    seed: int,
    interpolation: Interpolation = Interpolation.BICUBIC,
) -> ImageDataset:
    """CIFAR-10 or CIFAR-100 (by its fine labels), binary version.

    Raises:
        DatasetError: all files that are missing or malformed; the Python (pickle) version is named and refused.
    """
    require_folder(folder)
    if not (folder / cifar.test).exists() and (folder / cifar.python_file).is_file():
        raise DatasetError(
            f"{folder} holds the Python version of {cifar.title}: it is pickled, and unpickling runs code from the "
            f"file. Download the binary version ({cifar.archive}) from the same page"
        )
    problems = Problems(str(folder))
    parts: list[tuple[Pixels, Labels]] = []
    for name in (*cifar.train, cifar.test):
        with problems.gathered():
            parts.append(_cifar_file(folder / name, cifar))
    classes: tuple[str, ...] = ()
    with problems.gathered():
        classes = _cifar_classes(folder, cifar)
    problems.refuse()
    train = parts[:-1]
    pixels, labels = np.concatenate([p for p, _ in train]), np.concatenate([y for _, y in train])
    test_pixels, test_labels = parts[-1]
    return make_dataset(
        cifar.title.lower().replace("-", ""),
        ArraySplit(fit_array(pixels, image_size, channels, interpolation), labels),
        ArraySplit(fit_array(test_pixels, image_size, channels, interpolation), test_labels),
        classes,
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
    interpolation: Interpolation = Interpolation.BICUBIC,
) -> ImageDataset:
    """Fashion-MNIST (or MNIST) IDX files, gzipped or not: ``train-images-idx3-ubyte[.gz]`` and its three siblings.

    Raises:
        DatasetError: a file is missing, is no IDX file, or its length disagrees with its header.
    """
    require_folder(folder)
    problems = Problems(str(folder))
    arrays: dict[tuple[str, int], Pixels] = {}
    for part in ("train", "t10k"):
        for content, num_dimensions in (("images-idx3", 3), ("labels-idx1", 1)):
            with problems.gathered():
                file = _idx_file(folder, f"{part}-{content}-ubyte")
                arrays[part, num_dimensions] = _read_idx(file, num_dimensions)
        images, labels = arrays.get((part, 3)), arrays.get((part, 1))
        if images is not None and labels is not None and len(images) != len(labels):
            problems.add(f"{part} has {len(images)} images and {len(labels)} labels")
    problems.refuse()
    splits = [
        ArraySplit(
            fit_array(arrays[part, 3][:, :, :, None], image_size, channels, interpolation),
            arrays[part, 1].astype(np.int64),
        )
        for part in ("train", "t10k")
    ]
    classes = FASHION_CLASSES if name == "fashion-mnist" else tuple(str(digit) for digit in range(10))
    return make_dataset(name, splits[0], splits[1], classes, validation_fraction=validation_fraction, seed=seed)


def _cifar_file(path: Path, cifar: CifarFormat) -> tuple[Pixels, Labels]:
    content, size = read_bytes(path), cifar.record_bytes
    if not content or len(content) % size:
        raise DatasetError(
            f"{path} has {len(content)} bytes, which is no multiple of {size} (labels: {cifar.label_bytes}, and "
            f"32x32x3 pixels): it is damaged or not the binary version of {cifar.title}"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    labels = records[:, cifar.label_bytes - 1].astype(np.int64)
    if labels.max() >= cifar.num_classes:
        raise DatasetError(
            f"{path}: record {int(labels.argmax())} has label {labels.max()}, "
            f"{cifar.title} has 0 to {cifar.num_classes - 1}"
        )
    pixels = records[:, cifar.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), labels


def _cifar_classes(folder: Path, cifar: CifarFormat) -> tuple[str, ...]:
    path = folder / cifar.names_file
    if not path.exists():
        numbers = tuple(str(label) for label in range(cifar.num_classes))
        return CIFAR10_CLASSES if cifar is CIFAR10 else numbers
    names = tuple(line.strip() for line in read_bytes(path).decode("utf-8", "replace").splitlines() if line.strip())
    if len(names) != cifar.num_classes:
        raise DatasetError(f"{path} names {len(names)} classes, {cifar.title} has {cifar.num_classes}")
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
