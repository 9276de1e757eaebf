"""Images in folders.

Small sets are decoded into memory once; large ones (ImageNet) stay on disk and are decoded batch by
batch, with training crops taken from the original files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.images import Interpolation
from nas_engine.training.data.dataset import (
    ArraySplit,
    ImageDataset,
    Indices,
    Labels,
    Split,
    carve,
    make_dataset,
)
from nas_engine.training.data.decoding.decoders import Picture
from nas_engine.training.data.decoding.picture import Decoding, Pixels, opened
from nas_engine.training.data.decoding.pixel_cache import PixelCache, stacked
from nas_engine.training.data.decoding.processes import decoders
from nas_engine.training.data.folder_layout import WHOLE, read_layout
from nas_engine.training.data.problems import MAX_LISTED, Problems

IN_MEMORY_BYTES = 2**30  # decoded sets up to this size are kept in memory
DECODED_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class FileSplit:
    """Images on disk, decoded when they are asked for.

    Attributes:
        cache: keeps what is loaded, for batches that are loaded again.
    """

    paths: tuple[Path, ...]
    labels: Labels
    decoding: Decoding
    cache: PixelCache | None = None

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
        """Decode images, in the order of `indices`."""
        seeds: Sequence[int | None] = [None] * len(indices) if crop_seeds is None else [int(s) for s in crop_seeds]
        pictures = [Picture(self.paths[int(index)], seed) for index, seed in zip(indices, seeds, strict=True)]
        if self.cache is not None:
            return self.cache.load(pictures, self.decoding, decoders())
        return stacked(decoders().decode(pictures, self.decoding))

    def kept_in(self, cache: PixelCache | None) -> FileSplit:
        """The same images, each batch of which is decoded once."""
        return replace(self, cache=cache)

    def subset(self, indices: Indices) -> FileSplit:
        """A part of the files."""
        return replace(self, paths=tuple(self.paths[int(i)] for i in indices), labels=self.labels[indices])

    def joined(self, other: Split) -> Split:
        """Files of both parts; decoded where the other part is in memory."""
        if not isinstance(other, FileSplit):
            decoded = ArraySplit(self.load(np.arange(len(self), dtype=np.int64)), self.labels)
            return decoded.joined(other)
        return replace(self, paths=self.paths + other.paths, labels=np.concatenate([self.labels, other.labels]))

    def digest(self) -> str:
        """sha256 of class, name and size of every file and of the decoding (contents are too many to read)."""
        digest = hashlib.sha256(self.decoding.text.encode())
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
    interpolation: Interpolation = Interpolation.BICUBIC,
) -> ImageDataset:
    """Images in the folders of their classes; `folder_layout` says which layouts are read.

    Where there is ``val/`` and no ``test/`` with labels (ImageNet), ``val/`` is the test set and validation images
    are carved from training. Where the classes lie directly under the root, a fifth becomes test.

    Raises:
        DatasetError: all that is wrong: no class folder, an empty class, classes that differ between parts, files
            that cannot be decoded (of sets that fit into memory), or no image_size where images are no squares.
    """
    if not 0.0 < centre_crop <= 1.0:
        raise DatasetError(f"centre_crop is {centre_crop}: it must lie in (0, 1]")
    problems = Problems(str(root))
    layout = read_layout(root, problems)
    first = next(iter(layout.parts.values()))
    decoding = replace(
        _decoding(root, first.paths, image_size, channels, centre_crop, problems), interpolation=interpolation
    )
    splits = {
        part: _split(root, FileSplit(files.paths, files.labels, decoding), in_memory_bytes, problems)
        for part, files in layout.parts.items()
    }
    problems.refuse()
    if WHOLE in splits:
        kept, held_out = carve(layout.parts[WHOLE].labels, 0.2, seed, str(root))
        splits = {"train": splits[WHOLE].subset(kept), "test": splits[WHOLE].subset(held_out)}
    return make_dataset(
        root.name,
        splits["train"],
        splits["test"],
        layout.classes,
        validation=splits.get("validation"),
        validation_fraction=validation_fraction,
        seed=seed,
        notices=layout.notices,
    )


def _decoding(
    root: Path,
    paths: Sequence[Path],
    image_size: int | None,
    channels: int | None,
    centre_crop: float,
    problems: Problems,
) -> Decoding:
    """Take what is not given from the first image that can be decoded."""
    if image_size is not None and channels is not None:
        return Decoding(image_size, channels, centre_crop)
    unreadable = Problems(str(root))
    for path in paths[:MAX_LISTED]:
        with unreadable.gathered(), opened(path) as file:
            (width, height), grey = file.size, file.mode in ("1", "L", "I", "F")
            if image_size is None and width != height:
                place = path.relative_to(root).as_posix()
                problems.add(f"{place} is {width}x{height}: give image_size, so that all images become squares of it")
            return Decoding(image_size or min(width, height), channels or (1 if grey else 3), centre_crop)
    unreadable.refuse()
    raise DatasetError(f"{root} holds no image")


def _split(root: Path, split: FileSplit, in_memory_bytes: int, problems: Problems) -> Split:
    """The images decoded, where they are few enough; what cannot be decoded goes to `problems`."""
    decoding = split.decoding
    if len(split) * decoding.image_size**2 * decoding.channels > in_memory_bytes:
        return split

    pixels = np.zeros((len(split), *split.image_shape), dtype=np.uint8)
    for start in range(0, len(split), DECODED_AT_ONCE):
        pictures = [Picture(path) for path in split.paths[start : start + DECODED_AT_ONCE]]
        for place, found in enumerate(decoders().decode(pictures, decoding), start):
            if found.pixels is None:
                problems.add(found.error.removeprefix(f"{root}/"))
            else:
                pixels[place] = found.pixels
    return ArraySplit(pixels, split.labels)
