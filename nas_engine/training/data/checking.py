"""What a data set holds and what is wrong with it, found without training on it: counts, sizes, duplicates, faults."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.kinds.datasets import SourceKind, too_few_images
from nas_engine.training.data.dataset import Indices, Labels, carve
from nas_engine.training.data.decoding.decoders import on_threads
from nas_engine.training.data.decoding.picture import Pixels, convert, opened
from nas_engine.training.data.folder_layout import WHOLE, read_layout
from nas_engine.training.data.problems import MAX_LISTED, Problems
from nas_engine.training.data.source import DatasetSource, open_dataset

PARTS = ("train", "validation", "test")
IN_FLIGHT = 256  # pictures that are being decoded at a time

_Place = tuple[str, int]
"""A part, and the number of an image in it."""


@dataclass(frozen=True, slots=True)
class SizeCount:
    """How many images have one size; pixels."""

    width: int
    height: int
    num_images: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two images of different parts with the same pixels.

    Attributes:
        first, second: part and file, or part and number within it.
        same_class: whether they are labelled alike.
    """

    first: str
    second: str
    same_class: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetReport:
    """What was found in one data set.

    Attributes:
        kind: format of its files.
        classes: class names by index.
        counts: images of each class, by part; validation images are those of training that searches hold out.
        sizes: of the images as they are stored, the commonest first.
        duplicates: the first twenty.
        num_duplicates: images of a part whose pixels an image of an earlier part has.
        problems: what keeps the data set from being used, the first twenty.
        num_problems: how many there are.
        notices: what is not read, and where it lies.
    """

    kind: str
    classes: tuple[str, ...]
    counts: Mapping[str, tuple[int, ...]]
    sizes: tuple[SizeCount, ...]
    duplicates: tuple[Duplicate, ...]
    num_duplicates: int
    problems: tuple[str, ...]
    num_problems: int
    notices: tuple[str, ...]

    @property
    def num_images(self) -> int:
        """In all parts."""
        return sum(sum(counts) for counts in self.counts.values())


@dataclass(frozen=True, slots=True, eq=False)
class CheckedImages:
    """The images of a data set as they are stored, one at a time.

    Attributes:
        kind: format of the files.
        title: what people call it: the name of its folder or file.
        labels: (N,) class indices, by part.
        names: gives what people call an image.
        picture: gives an image upright, in grey or RGB, (H, W, C).
    """

    kind: str
    title: str
    classes: tuple[str, ...]
    labels: Mapping[str, Labels]
    notices: tuple[str, ...]
    names: Callable[[str, int], str]
    picture: Callable[[str, int], Pixels]


def recognised_kind(path: Path) -> SourceKind:
    """The format of what lies at a path, by the names of its files; folders of images where nothing else is known."""
    if path.suffix.lower() == ".npz":
        return SourceKind.NPZ
    if any((path / name).is_file() for name in ("test_batch.bin", "data_batch_1.bin", "test_batch")):
        return SourceKind.CIFAR10
    if any((path / name).is_file() for name in ("train.bin", "test.bin", "fine_label_names.txt", "meta")):
        return SourceKind.CIFAR100
    if any(path.glob("t10k-*-ubyte*")):
        return SourceKind.MNIST
    return SourceKind.FOLDER


def open_images(source: DatasetSource, problems: Problems) -> CheckedImages:
    """List the images of a data set as they are stored; faults go to `problems`.

    Raises:
        DatasetError: too little of it can be read to go on.
    """
    if source.kind == SourceKind.FOLDER:
        return _of_folder(source, Path(source.path or ""), problems)
    dataset = open_dataset(replace(source, image_size=None, channels=None))
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return CheckedImages(
        kind=str(source.kind),
        title=dataset.name,
        classes=dataset.classes,
        labels={part: split.labels for part, split in splits.items()},
        notices=dataset.notices,
        names=lambda part, number: f"{part} {number}",
        picture=lambda part, number: splits[part].load(np.asarray([number]))[0],
    )


def check_images(images: CheckedImages, problems: Problems, batch_size: int | None = None) -> DatasetReport:
    """Look at every image once.

    Args:
        images: of one data set.
        problems: what was found already; what is found now is added.
        batch_size: that a training will take; more than there are training images is a problem.
    """
    num_train = len(images.labels.get("train", ()))
    if batch_size is not None and batch_size > num_train:
        problems.add(too_few_images(images.title, num_train, "training", batch_size))
    sizes: Counter[tuple[int, int]] = Counter()
    seen: dict[bytes, _Place] = {}
    duplicates: list[Duplicate] = []
    num_duplicates = 0
    for place, found in _looked_at(images):
        if isinstance(found, DatasetError):
            problems.add_all(found)
            continue
        size, digest = found
        sizes[size] += 1
        first = seen.setdefault(digest, place)
        if first[0] == place[0]:
            continue
        num_duplicates += 1
        if len(duplicates) < MAX_LISTED:
            same = images.labels[first[0]][first[1]] == images.labels[place[0]][place[1]]
            duplicates.append(Duplicate(images.names(*first), images.names(*place), bool(same)))
    num_classes = len(images.classes)
    return DatasetReport(
        kind=images.kind,
        classes=images.classes,
        counts={
            part: tuple(np.bincount(labels, minlength=num_classes).tolist()) for part, labels in images.labels.items()
        },
        sizes=tuple(SizeCount(width, height, count) for (width, height), count in sizes.most_common()),
        duplicates=tuple(duplicates),
        num_duplicates=num_duplicates,
        problems=problems.listed,
        num_problems=len(problems),
        notices=images.notices,
    )


def unreadable(kind: str, problems: Problems) -> DatasetReport:
    """The report of what cannot be opened at all."""
    return DatasetReport(
        kind=kind,
        classes=(),
        counts={},
        sizes=(),
        duplicates=(),
        num_duplicates=0,
        problems=problems.listed,
        num_problems=len(problems),
        notices=(),
    )


def _of_folder(source: DatasetSource, root: Path, problems: Problems) -> CheckedImages:
    layout = read_layout(root, problems)
    paths = {part: files.paths for part, files in layout.parts.items()}
    labels = {part: files.labels for part, files in layout.parts.items()}
    # Parted as they would be for a training, so that an image that is there twice is seen on both sides.
    for part, other, share in ((WHOLE, "test", 0.2), ("train", "validation", source.validation_fraction)):
        if part not in labels or other in labels:
            continue
        kept: Indices | None = None
        with problems.gathered():
            kept, held_out = carve(labels[part], share, source.seed, "the folder")
        if kept is None:
            continue
        whole_paths, whole_labels = paths.pop(part), labels.pop(part)
        for name, chosen in (("train", kept), (other, held_out)):
            paths[name] = tuple(whole_paths[int(number)] for number in chosen)
            labels[name] = whole_labels[chosen]

    def picture(part: str, number: int) -> Pixels:
        path = paths[part][number]
        try:
            with opened(path) as upright:
                pixels: Pixels = np.asarray(convert(upright, 1 if upright.mode in ("1", "L") else 3))
        except DatasetError as error:
            raise DatasetError(str(error).removeprefix(f"{root}/")) from error
        return pixels[:, :, None] if pixels.ndim == 2 else pixels

    return CheckedImages(
        kind=SourceKind.FOLDER.value,
        title=root.resolve().name,
        classes=layout.classes,
        labels={part: labels[part] for part in (*PARTS, WHOLE) if part in labels},
        notices=layout.notices,
        names=lambda part, number: paths[part][number].relative_to(root).as_posix(),
        picture=picture,
    )


def _looked_at(images: CheckedImages) -> Iterator[tuple[_Place, tuple[tuple[int, int], bytes] | DatasetError]]:
    """Size and digest of every image, in order, or why it cannot be decoded; a few are decoded at a time."""
    places = [(part, number) for part, labels in images.labels.items() for number in range(len(labels))]

    def look(place: _Place) -> tuple[tuple[int, int], bytes] | DatasetError:
        try:
            pixels = images.picture(*place)
        except DatasetError as error:
            return error
        return _size_and_digest(pixels)

    for start in range(0, len(places), IN_FLIGHT):
        chosen: Sequence[_Place] = places[start : start + IN_FLIGHT]
        yield from zip(chosen, on_threads().map(look, chosen), strict=True)


def _size_and_digest(pixels: Pixels) -> tuple[tuple[int, int], bytes]:
    """Grey that is stored as colour is the same picture."""
    height, width, channels = pixels.shape
    if channels == 3 and np.array_equal(pixels[:, :, 0], pixels[:, :, 1]):
        grey = np.array_equal(pixels[:, :, 0], pixels[:, :, 2])
        pixels = pixels[:, :, :1] if grey else pixels
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16)
    digest.update(f"{width}x{height}".encode())
    return (width, height), digest.digest()
