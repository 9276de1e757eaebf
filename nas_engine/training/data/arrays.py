"""Data sets as arrays: the embedded Fashion-MNIST subset and any .npz of images and labels."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.images import Interpolation
from nas_engine.training.data.dataset import FROM_ONE, ArraySplit, ImageDataset, Labels, carve, make_dataset
from nas_engine.training.data.decoding.picture import Pixels
from nas_engine.training.data.files import fit_array, open_npz
from nas_engine.training.data.problems import Problems

EMBEDDED_FILE = "fashion_mnist_12k.npz"
# Names under which people save images and labels, most common first.
IMAGE_KEYS = ("x", "images", "data")
LABEL_KEYS = ("y", "labels", "targets")
WHOLE = "whole"
MAX_CLASSES = 100_000  # several times ImageNet-21k; a label beyond it is no class index


def embedded(
    *,
    image_size: int | None,
    channels: int | None,
    validation_fraction: float,
    seed: int,
    interpolation: Interpolation = Interpolation.BICUBIC,
) -> ImageDataset:
    """The Fashion-MNIST subset in the package: 10,000 training and 2,000 test images, ten classes."""
    with as_file(files("nas_engine.training.data") / EMBEDDED_FILE) as path:
        return load_npz(
            path,
            name="fashion-mnist-12k",
            image_size=image_size,
            channels=channels,
            validation_fraction=validation_fraction,
            seed=seed,
            interpolation=interpolation,
        )


def load_npz(
    path: Path,
    *,
    name: str | None = None,
    image_size: int | None,
    channels: int | None,
    validation_fraction: float,
    seed: int,
    interpolation: Interpolation = Interpolation.BICUBIC,
) -> ImageDataset:
    """An .npz with ``x_train, y_train, x_test, y_test`` or with one pair ``x, y`` (a fifth becomes test).

    Images are uint8 (N, H, W), (N, H, W, C) or (N, C, H, W); ``classes`` may name the classes, and
    ``x_val, y_val`` may hold validation images.

    Raises:
        DatasetError: all that is wrong: a key is missing, a type or shape is wrong, labels leave classes empty, or
            the file cannot be read.
    """
    problems = Problems(str(path))
    with open_npz(path) as archive:
        classes = _named_classes(archive, problems)
        pairs: dict[str, tuple[Pixels, Labels] | None] = {}
        for part in ("train", "test", "val", None):
            with problems.gathered():
                pairs[part or WHOLE] = None
                pairs[part or WHOLE] = _pair(archive, part, problems)
    whole = pairs.pop(WHOLE)
    problems.refuse()
    if pairs["train"] is None:
        if whole is None:
            raise DatasetError(
                f"{path} holds no images: give x_train, y_train, x_test, y_test, or one pair of "
                f"{'/'.join(IMAGE_KEYS)} and {'/'.join(LABEL_KEYS)}"
            )
        pixels, labels = whole
        kept, held_out = carve(labels, 0.2, seed, str(path))
        pairs["train"], pairs["test"] = (pixels[kept], labels[kept]), (pixels[held_out], labels[held_out])
    if pairs["test"] is None:
        raise DatasetError(f"{path} has x_train but no x_test: a report needs test images that nothing else saw")
    if not classes:
        classes = _numbered_classes([pair[1] for pair in pairs.values() if pair is not None], path)
    splits = {
        part: ArraySplit(fit_array(pair[0], image_size, channels, interpolation), pair[1])
        for part, pair in pairs.items()
        if pair is not None
    }
    return make_dataset(
        name or path.stem,
        splits["train"],
        splits["test"],
        classes,
        validation=splits.get("val"),
        validation_fraction=validation_fraction,
        seed=seed,
    )


def _named_classes(archive: NpzFile, problems: Problems) -> tuple[str, ...]:
    """Names that the file gives its classes; empty where it gives none."""
    if "classes" not in archive:
        return ()
    names = archive["classes"]
    if names.ndim != 1 or names.dtype.kind != "U":
        problems.add(f"classes is {names.dtype} {names.shape}: it must be a list of strings")
    return tuple(str(name) for name in names.reshape(-1))


def _numbered_classes(labels: list[Labels], path: Path) -> tuple[str, ...]:
    """Every class up to the highest label, named by its number. Raises DatasetError where they start from 1."""
    every = np.concatenate(labels)
    lowest, highest = int(every.min()), int(every.max())
    if lowest == 1:
        raise DatasetError(f"{path}: labels run from 1 to {highest}: {FROM_ONE}; class 0 would be empty")
    return tuple(str(label) for label in range(highest + 1))


def _pair(archive: NpzFile, part: str | None, problems: Problems) -> tuple[Pixels, Labels] | None:
    """Images and labels of one part (None: of the whole file); None where the file has neither, or they are wrong."""
    suffix = "" if part is None else f"_{part}"
    image_key = next((key + suffix for key in IMAGE_KEYS if key + suffix in archive), None)
    label_key = next((key + suffix for key in LABEL_KEYS if key + suffix in archive), None)
    if image_key is None and label_key is None:
        return None
    if image_key is None or label_key is None:
        have = image_key or label_key
        raise DatasetError(f"{have} stands alone: images and labels come in pairs, e.g. x{suffix} and y{suffix}")
    pixels, labels = None, None
    with problems.gathered():
        pixels = _images(archive[image_key], image_key)
    with problems.gathered():
        labels = _labels(archive[label_key], label_key)
    if pixels is None or labels is None:
        return None
    if len(pixels) != len(labels):
        raise DatasetError(f"{image_key} holds {len(pixels)} images and {label_key} {len(labels)} labels")
    return pixels, labels


def _images(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], key: str) -> Pixels:
    if array.dtype != np.uint8:
        raise DatasetError(f"{key} is {array.dtype}: save pixels as uint8 0..255")
    if array.ndim == 3:
        array = array[:, :, :, None]
    if array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape:
        raise DatasetError(
            f"{key} has shape {array.shape}: it must be (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W)"
        )
    return np.ascontiguousarray(array, dtype=np.uint8)


def _labels(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], key: str) -> Labels:
    flat = array.reshape(len(array)) if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1 or not np.issubdtype(flat.dtype, np.integer):
        raise DatasetError(f"{key} is {array.dtype} {array.shape}: labels must be integers of shape (N,)")
    if flat.size and not (flat.min() >= 0 and flat.max() < MAX_CLASSES):
        raise DatasetError(
            f"{key} runs from {flat.min()} to {flat.max()}: labels must be class indices 0, 1, 2, ... "
            f"below {MAX_CLASSES}"
        )
    return flat.astype(np.int64)
