"""Image data sets as values: three splits that never leak into each other, with a fingerprint.

Training learns on `train`, search judges candidates on `validation`, reports are made on `test`.
Shapes: N images, H height, W width, C channels (1 grey or 3 RGB); pixels are uint8.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.images import ImageForm, Interpolation, NormalisationKind
from nas_engine.settings.kinds.datasets import too_few_images
from nas_engine.training.data.decoding.picture import Pixels
from nas_engine.training.data.decoding.pixel_cache import PixelCache
from nas_engine.training.data.problems import Problems
from nas_engine.training.randomness import Randomness, Stream

Labels = NDArray[np.int64]
Indices = NDArray[np.int64]
# Images that the normalisation constants are estimated from, at most (evenly spread over the split).
NORMALISATION_IMAGES = 10_000
FROM_ONE = "they count from 1, class indices from 0: subtract 1 from each"
"""What is said of labels 1 to n."""


class Split(Protocol):
    """Images with labels. `load` is thread-safe."""

    @property
    def labels(self) -> Labels:
        """(N,) class indices."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every loaded image."""

    def __len__(self) -> int:
        """Number of images."""

    @property
    def crops_on_load(self) -> bool:
        """Whether `load` can take random crops of the original files (finer than crops of resized images)."""

    def load(self, indices: Indices, crop_seeds: Indices | None = None) -> Pixels:
        """Images as (N, H, W, C) uint8.

        Args:
            indices: which images.
            crop_seeds: one seed per image; a split with `crops_on_load` then takes a random resized
                crop (scale 0.08-1, ratio 3/4-4/3) of each, the others refuse.

        Raises:
            DatasetError: a file cannot be decoded, or crops are asked of images in memory.
        """

    def subset(self, indices: Indices) -> Split:
        """A part of the split, in the order of `indices`."""

    def joined(self, other: Split) -> Split:
        """These images, then those of another part of the same data set."""

    def kept_in(self, cache: PixelCache | None) -> Split:
        """The same images; those that are decoded from files are kept in a cache, batch by batch as they are loaded."""

    def digest(self) -> str:
        """sha256 (hex) of what the split holds."""


@dataclass(frozen=True, slots=True, eq=False)
class ArraySplit:
    """Images in memory.

    Attributes:
        pixels: (N, H, W, C).
        labels: (N,).
    """

    pixels: Pixels
    labels: Labels

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[3] not in (1, 3):
            raise DatasetError(
                f"images are {self.pixels.dtype} {self.pixels.shape}: they must be uint8 (N, H, W, 1 or 3)"
            )
        if self.labels.shape != (len(self.pixels),):
            raise DatasetError(
                f"{len(self.pixels)} images have labels of shape {self.labels.shape}: give one per image"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        _, height, width, channels = self.pixels.shape
        return height, width, channels

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def crops_on_load(self) -> bool:
        """No: the originals are gone."""
        return False

    def load(self, indices: Indices, crop_seeds: Indices | None = None) -> Pixels:
        """A copy of the chosen images."""
        if crop_seeds is not None:
            raise DatasetError("images in memory are not cropped while loading: augment the batch instead")
        return self.pixels[indices]

    def subset(self, indices: Indices) -> ArraySplit:
        """A copy of the chosen part."""
        return ArraySplit(self.pixels[indices], self.labels[indices])

    def joined(self, other: Split) -> ArraySplit:
        """A copy of both parts."""
        pixels = other.load(np.arange(len(other), dtype=np.int64))
        return ArraySplit(np.concatenate([self.pixels, pixels]), np.concatenate([self.labels, other.labels]))

    def kept_in(self, cache: PixelCache | None) -> ArraySplit:
        """Itself: it is decoded."""
        del cache
        return self

    def digest(self) -> str:
        """sha256 of shape, pixels and labels."""
        digest = hashlib.sha256(repr(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What is subtracted from pixels in [0, 1] and what they are divided by, per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


# Of the training images of ImageNet-1K, as published with most networks for it.
IMAGENET_NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, slots=True)
class ImageDataset:
    """One data set, ready for training, search and report.

    Attributes:
        name: for people.
        train, validation, test: disjoint; validation is carved from the training images.
        classes: class names by index.
        normalisation: of the training images alone, or what a training wants instead.
        fingerprint: sha256 (hex) of all three splits and the class names.
        notices: what of the files is not read, and what else whoever brought them should know.
        interpolation: by which images are brought to their size, and random crops of them.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    normalisation: Normalisation
    fingerprint: str
    notices: tuple[str, ...] = ()
    interpolation: Interpolation = Interpolation.BICUBIC

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def in_form(self, form: ImageForm) -> ImageDataset:
        """The data set with another normalisation; its images were brought to their size by the form's filter already.

        Raises:
            DatasetError: ImageNet's normalisation is wanted of grey images.
        """
        normalisation, channels = self.normalisation, self.train.image_shape[2]
        match form.normalisation:
            case NormalisationKind.IMAGENET:
                if channels != 3:
                    raise DatasetError(f"{self.name}: ImageNet's normalisation is of 3 channels, not of {channels}")
                normalisation = IMAGENET_NORMALISATION
            case NormalisationKind.BYTES:
                normalisation = Normalisation((0.0,) * channels, (1.0 / 255.0,) * channels)
            case NormalisationKind.DATASET:
                pass
        return replace(self, normalisation=normalisation, interpolation=form.interpolation)

    def judged_in(self, cache: PixelCache | None) -> ImageDataset:
        """The same data set; the images that networks are judged by are decoded once, into a cache.

        They alone: training images are drawn in another order each time, and no batch of them comes again.
        """
        return replace(self, validation=self.validation.kept_in(cache), test=self.test.kept_in(cache))

    def with_held_out(self) -> ImageDataset:
        """The data set with its validation images among the training images too, as another one by its fingerprint."""
        fingerprint = hashlib.sha256(f"{self.fingerprint}:held-out".encode()).hexdigest()
        return replace(self, train=self.train.joined(self.validation), fingerprint=fingerprint)


def make_dataset(
    name: str,
    train: Split,
    test: Split,
    classes: tuple[str, ...],
    *,
    validation_fraction: float = 0.2,
    validation: Split | None = None,
    seed: int = 0,
    notices: tuple[str, ...] = (),
) -> ImageDataset:
    """Check the splits, carve the validation images from the training images, estimate normalisation.

    Args:
        name: for people.
        train: published training images.
        test: published test images.
        classes: class names by index.
        validation_fraction: share of each class that is held out of training.
        validation: held-out images where the publisher gives them; nothing is carved then.
        seed: of the carving.
        notices: of who read the files.

    Raises:
        DatasetError: all that is wrong: a split is empty, a label has no class or a class no training image, shapes
            differ, or a class is too small.
    """
    problems = Problems(name)
    for part, split in (("training", train), ("test", test), *((("validation", validation),) if validation else ())):
        if len(split) == 0:
            problems.add(f"{part} images: there are none")
            continue
        lowest, highest = int(split.labels.min()), int(split.labels.max())
        if lowest < 0 or highest >= len(classes):
            from_one = lowest == 1 and highest == len(classes)
            hint = ": they count from 1, class indices from 0; subtract 1" if from_one else ""
            problems.add(
                f"{part} images: labels run from {lowest} to {highest}, there are {len(classes)} classes{hint}"
            )
        if split.image_shape != train.image_shape:
            problems.add(
                f"{part} images are {split.image_shape}, training images {train.image_shape}: "
                "give image_size and channels so that both are brought to one shape"
            )
    problems.refuse()
    empty = sorted(set(range(len(classes))) - set(np.unique(train.labels).tolist()))
    if empty:
        named = ", ".join(f"{label} ({classes[label]})" for label in empty[:10])
        more = f" and {len(empty) - 10} more" if len(empty) > 10 else ""
        problems.add(f"no training image is of class {named}{more}: number the classes that there are 0, 1, 2, ...")
    problems.refuse()
    if validation is None:
        kept, held_out = carve(train.labels, validation_fraction, seed, name)
        train, validation = train.subset(kept), train.subset(held_out)
    digest = hashlib.sha256("\n".join([*classes, train.digest(), validation.digest(), test.digest()]).encode())
    return ImageDataset(name, train, validation, test, classes, _normalisation(train), digest.hexdigest(), notices)


def require_batch(dataset: ImageDataset, batch_size: int) -> None:
    """Raise DatasetError where there are fewer training images than one batch takes."""
    if batch_size > len(dataset.train):
        raise DatasetError(too_few_images(dataset.name, len(dataset.train), "training", batch_size))


def carve(labels: Labels, fraction: float, seed: int, name: str) -> tuple[Indices, Indices]:
    """Stratified split of indices into (kept, held out), both sorted; every class keeps and gives at least one.

    Raises:
        DatasetError: the fraction is outside (0, 1), or a class has fewer than two images.
    """
    if not 0.0 < fraction < 1.0:
        raise DatasetError(f"{name}: validation_fraction is {fraction}: it must lie between 0 and 1")
    held_out: list[Indices] = []
    problems = Problems(name)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            problems.add(f"class {label} has one training image: no validation image can be held out")
            continue
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        rng = Randomness(seed).numpy(Stream.VALIDATION_SPLIT, int(label))
        held_out.append(rng.permutation(members)[:count])
    problems.refuse()
    chosen = np.sort(np.concatenate(held_out))
    kept = np.setdiff1d(np.arange(len(labels)), chosen, assume_unique=True)
    return kept.astype(np.int64), chosen.astype(np.int64)


def _normalisation(train: Split) -> Normalisation:
    count = min(len(train), NORMALISATION_IMAGES)
    chosen = np.linspace(0, len(train) - 1, count).astype(np.int64)
    total, squares, num_pixels = 0.0, 0.0, 0
    for start in range(0, count, 500):
        values = train.load(chosen[start : start + 500]).astype(np.float64) / 255.0
        total = total + values.sum((0, 1, 2))
        squares = squares + (values**2).sum((0, 1, 2))
        num_pixels += values.shape[0] * values.shape[1] * values.shape[2]
    mean = np.asarray(total) / num_pixels
    variance = np.maximum(np.asarray(squares) / num_pixels - mean**2, 0.0)
    # One grey level everywhere has no spread: leave it as it is instead of dividing by zero.
    std = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
    return Normalisation(tuple(float(m) for m in mean), tuple(float(s) for s in std))


def limited(dataset: ImageDataset, max_train_images: int | None) -> ImageDataset:
    """The data set with at most so many training images, spread evenly over them; another one by its fingerprint."""
    if max_train_images is None or max_train_images >= len(dataset.train):
        return dataset
    chosen = np.linspace(0, len(dataset.train) - 1, max_train_images).astype(np.int64)
    fingerprint = hashlib.sha256(f"{dataset.fingerprint}:{max_train_images}".encode()).hexdigest()
    return replace(dataset, train=dataset.train.subset(chosen), fingerprint=fingerprint)
