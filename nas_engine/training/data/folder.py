"""ImageFolder-style data sets: one folder per class, under ``train/`` and ``test/`` (and ``val/``).

Small sets are decoded into memory once; large ones (ImageNet) stay on disk and are decoded batch by
batch in threads, with training crops taken from the original files.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from nas_engine.domain.errors import DatasetError
from nas_engine.training.data.dataset import (
    ArraySplit,
    ImageDataset,
    Indices,
    Labels,
    Pixels,
    Split,
    carve,
    make_dataset,
)
from nas_engine.training.data.files import convert, require_folder

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm"})
PARTS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}
IN_MEMORY_BYTES = 2**30  # decoded sets up to this size are kept in memory
DECODE_THREADS = 8
# RandomResizedCrop of Inception-style training (Szegedy et al. 2015), the values SPOS and AttentiveNAS use.
CROP_SCALE, CROP_RATIO, CROP_TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a file becomes pixels.

    Attributes:
        image_size: height and width of the result, pixels.
        channels: 1 or 3.
        centre_crop: share of the shorter side that the centre crop keeps (0.875 for ImageNet: 256 -> 224).
    """

    image_size: int
    channels: int
    centre_crop: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class FileSplit:
    """Images on disk, decoded when they are asked for."""

    paths: tuple[Path, ...]
    labels: Labels
    decoding: Decoding

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.decoding.image_size, self.decoding.image_size, self.decoding.channels

    @property
    def crops_on_load(self) -> bool:
        """Yes: from the original files."""
        return True

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, indices: Indices, crop_seeds: Indices | None = None) -> Pixels:
        """Decode images in threads, in the order of `indices`."""
        seeds: Sequence[int | None] = [None] * len(indices) if crop_seeds is None else [int(s) for s in crop_seeds]
        paths = [self.paths[int(index)] for index in indices]
        images = _decoders().map(decode, paths, [self.decoding] * len(paths), seeds)
        return np.stack(list(images))

    def subset(self, indices: Indices) -> FileSplit:
        """A part of the files."""
        return replace(self, paths=tuple(self.paths[int(i)] for i in indices), labels=self.labels[indices])

    def digest(self) -> str:
        """sha256 of class, name and size of every file and of the decoding (contents are too many to read)."""
        digest = hashlib.sha256(repr(self.decoding).encode())
        for path, label in zip(self.paths, self.labels, strict=True):
            digest.update(f"{label}/{path.name}:{path.stat().st_size};".encode())
        return digest.hexdigest()


def load_folder(
    root: Path,
    *,
    image_size: int | None,
    channels: int | None,
    validation_fraction: float,
    seed: int,
    centre_crop: float = 1.0,
    in_memory_bytes: int = IN_MEMORY_BYTES,
) -> ImageDataset:
    """``root/train/<class>/*`` and ``root/test/<class>/*``; ``val/`` holds validation images.

    Where there is ``val/`` and no ``test/`` (ImageNet), ``val/`` is the test set and validation images
    are carved from training. Where the classes lie directly under the root, a fifth becomes test.

    Raises:
        DatasetError: no class folder, an empty class, classes that differ between parts, a file that
            cannot be decoded, or sizes that differ while image_size is not given.
    """
    require_folder(root)
    parts = {
        part: next((root / name for name in names if (root / name).is_dir()), None) for part, names in PARTS.items()
    }
    if parts["train"] is None:
        return _one_folder(root, image_size, channels, validation_fraction, seed, centre_crop, in_memory_bytes)
    if parts["test"] is None:
        parts["test"], parts["validation"] = parts["validation"], None
    if parts["test"] is None:
        raise DatasetError(f"{root} has train/ but neither test/ nor val/: a report needs images that nothing else saw")
    classes = _classes(parts["train"])
    listed = {part: _list_files(folder, classes) for part, folder in parts.items() if folder is not None}
    decoding = _decoding(listed["train"][0], image_size, channels, centre_crop)
    splits = {part: _split(*files, decoding, in_memory_bytes) for part, files in listed.items()}
    return make_dataset(
        root.name,
        splits["train"],
        splits["test"],
        classes,
        validation=splits.get("validation"),
        validation_fraction=validation_fraction,
        seed=seed,
    )


def decode(path: Path, decoding: Decoding, crop_seed: int | None = None) -> Pixels:
    """One file as (H, W, C) uint8: the centre, or a random resized crop where a seed is given.

    Raises:
        DatasetError: naming the file.
    """
    size = decoding.image_size
    try:
        with warnings.catch_warnings(), Image.open(path) as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            box = _centre(file.size, decoding.centre_crop) if crop_seed is None else _random_box(file.size, crop_seed)
            image = convert(file, decoding.channels)
            whole = box == (0.0, 0.0, float(image.width), float(image.height))
            if not whole or image.size != (size, size):
                image = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
            array: Pixels = np.asarray(image, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DatasetError(f"{path} cannot be decoded ({error}): remove or replace it") from error
    return array[:, :, None] if array.ndim == 2 else array


def _one_folder(
    root: Path,
    image_size: int | None,
    channels: int | None,
    validation_fraction: float,
    seed: int,
    centre_crop: float,
    in_memory_bytes: int,
) -> ImageDataset:
    classes = _classes(root)
    paths, labels = _list_files(root, classes)
    split = _split(paths, labels, _decoding(paths, image_size, channels, centre_crop), in_memory_bytes)
    kept, held_out = carve(labels, 0.2, seed, str(root))
    return make_dataset(
        root.name,
        split.subset(kept),
        split.subset(held_out),
        classes,
        validation_fraction=validation_fraction,
        seed=seed,
    )


def _classes(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if len(names) < 2:
        raise DatasetError(f"{folder} holds {len(names)} class folders: put each class's images in a folder of its own")
    return names


def _list_files(folder: Path, classes: tuple[str, ...]) -> tuple[tuple[Path, ...], Labels]:
    unknown = {entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."} - set(classes)
    if unknown:
        raise DatasetError(f"{folder} has the classes {sorted(unknown)[:5]}, which are not among the training classes")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(p for p in (folder / name).glob("*") if p.suffix.lower() in EXTENSIONS)
        if not found:
            known = " ".join(sorted(EXTENSIONS))
            raise DatasetError(f"{folder / name} holds no image ({known}): every class needs some in every part")
        paths += found
        labels += [label] * len(found)
    return tuple(paths), np.asarray(labels, dtype=np.int64)


def _decoding(paths: Sequence[Path], image_size: int | None, channels: int | None, centre_crop: float) -> Decoding:
    """Take what is not given from the first image."""
    if not 0.0 < centre_crop <= 1.0:
        raise DatasetError(f"centre_crop is {centre_crop}: it must lie in (0, 1]")
    if image_size is not None and channels is not None:
        return Decoding(image_size, channels, centre_crop)
    first = paths[0]
    try:
        with Image.open(first) as file:
            (width, height), grey = file.size, file.mode in ("1", "L", "I", "F")
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{first} cannot be decoded ({error}): remove or replace it") from error
    if image_size is None and width != height:
        raise DatasetError(f"{first} is {width}x{height}: give image_size, so that all images become squares of it")
    return Decoding(image_size or width, channels or (1 if grey else 3), centre_crop)


def _split(paths: tuple[Path, ...], labels: Labels, decoding: Decoding, in_memory_bytes: int) -> Split:
    split = FileSplit(paths, labels, decoding)
    if len(paths) * decoding.image_size**2 * decoding.channels > in_memory_bytes:
        return split
    return ArraySplit(split.load(np.arange(len(paths))), labels)


def _centre(size: tuple[int, int], share: float) -> tuple[float, float, float, float]:
    width, height = size
    side = min(width, height) * share
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _random_box(size: tuple[int, int], seed: int) -> tuple[float, float, float, float]:
    """Area and aspect ratio uniform (the ratio in its logarithm), as torchvision's RandomResizedCrop."""
    width, height = size
    rng = np.random.default_rng(seed)
    for _ in range(CROP_TRIES):
        area = width * height * rng.uniform(*CROP_SCALE)
        ratio = math.exp(rng.uniform(math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    return _centre(size, 1.0)


@cache
def _decoders() -> ThreadPoolExecutor:
    """One pool per process; Pillow releases the interpreter lock while it decodes."""
    return ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
