"""Images in folders, decoded: turned as their EXIF orientation says, what is transparent laid on white.

Small sets are decoded into memory once; large ones (ImageNet) stay on disk and are decoded batch by
batch in threads, with training crops taken from the original files.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.images import Interpolation
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
from nas_engine.training.data.files import FILTERS, convert
from nas_engine.training.data.folder_layout import WHOLE, read_layout
from nas_engine.training.data.problems import MAX_LISTED, Problems

IN_MEMORY_BYTES = 2**30  # decoded sets up to this size are kept in memory
DECODE_THREADS = 8
# RandomResizedCrop of Inception-style training (Szegedy et al. 2015), the values SPOS and AttentiveNAS use.
CROP_SCALE, CROP_RATIO, CROP_TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10

# What Pillow's readers raise for files that are damaged, each its own.
_UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # where warnings are errors
)

# Orientation of EXIF 2.32, section 4.6.4: what brings a stored picture upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a file becomes pixels.

    Attributes:
        image_size: height and width of the result, pixels.
        channels: 1 or 3.
        centre_crop: share of the shorter side that the centre crop keeps (0.875 for ImageNet: 256 -> 224).
        interpolation: filter; no part of the text that fingerprints are made of unless it is another than ever before.
    """

    image_size: int
    channels: int
    centre_crop: float = 1.0
    interpolation: Interpolation = field(default=Interpolation.BICUBIC, repr=False)

    @property
    def text(self) -> str:
        """All of it, as fingerprints have it."""
        is_first = self.interpolation is Interpolation.BICUBIC
        return repr(self) if is_first else f"{self!r}:{self.interpolation.value}"


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
        images = decoders().map(decode, paths, [self.decoding] * len(paths), seeds)
        try:
            return np.stack(list(images))
        except DatasetError as error:
            raise DatasetError(f"{error}; `hilnas datasets check` names every such file") from error

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


def decode(path: Path, decoding: Decoding, crop_seed: int | None = None) -> Pixels:
    """One file as (H, W, C) uint8: the centre, or a random resized crop where a seed is given.

    Raises:
        DatasetError: naming the file.
    """
    size = decoding.image_size
    with opened(path) as upright:
        box = _centre(upright.size, decoding.centre_crop) if crop_seed is None else _random_box(upright.size, crop_seed)
        image = convert(upright, decoding.channels)
        whole = box == (0.0, 0.0, float(image.width), float(image.height))
        if not whole or image.size != (size, size):
            image = image.resize((size, size), FILTERS[decoding.interpolation], box=box)
        array: Pixels = np.asarray(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture, turned as its EXIF orientation says.

    Raises:
        DatasetError: naming the file, also for what is found wrong while it is used.
    """
    try:
        with Image.open(path) as file:
            # Raised is what Pillow only warns of; warnings are turned into errors for a whole process alone.
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and file.width * file.height > limit:
                size = f"{file.width}x{file.height}"
                raise Image.DecompressionBombError(f"{size} pixels: more than {limit} are not decoded")
            file.load()
            yield _upright(file)
    except UnidentifiedImageError as error:  # its own text repeats the whole path
        raise DatasetError(f"{path} cannot be decoded (no image format that is known): remove or replace it") from error
    except _UNREADABLE as error:
        raise DatasetError(f"{path} cannot be decoded ({error}): remove or replace it") from error


def _upright(loaded: Image.Image) -> Image.Image:
    """Turned as its orientation says; as it is stored where its EXIF data are damaged, which viewers overlook too."""
    try:
        turn = _TURNS.get(loaded.getexif().get(ExifTags.Base.Orientation, 1))
    except _UNREADABLE:
        return loaded
    return loaded if turn is None else loaded.transpose(turn)


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

    def pixels_of(path: Path) -> Pixels | DatasetError:
        try:
            return decode(path, decoding)
        except DatasetError as error:
            return error

    pixels = np.zeros((len(split), *split.image_shape), dtype=np.uint8)
    for place, found in enumerate(decoders().map(pixels_of, split.paths)):
        if isinstance(found, DatasetError):
            problems.add(str(found).removeprefix(f"{root}/"))
        else:
            pixels[place] = found
    return ArraySplit(pixels, split.labels)


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
    # The middle, as much as the limits of the ratio leave: what torchvision takes after ten misses.
    w = min(width, round(height * CROP_RATIO[1]))
    h = min(height, round(width / CROP_RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


@cache
def decoders() -> ThreadPoolExecutor:
    """One pool per process; Pillow releases the interpreter lock while it decodes."""
    return ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")
