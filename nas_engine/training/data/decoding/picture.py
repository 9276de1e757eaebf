"""One picture, decoded: turned as its EXIF orientation says, what is transparent laid on white, cut and resized.

Holds no torch: processes that do nothing but decode load this file alone.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.images import Interpolation

Pixels = NDArray[np.uint8]
FILTERS = {Interpolation.BILINEAR: Image.Resampling.BILINEAR, Interpolation.BICUBIC: Image.Resampling.BICUBIC}
BACKGROUND = (255, 255, 255)
"""White, as a page: the colour that transparent pictures are laid on."""
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


def decode(path: Path, decoding: Decoding, crop_seed: int | None = None, content: bytes | None = None) -> Pixels:
    """One file as (H, W, C) uint8: the centre, or a random resized crop where a seed is given.

    Args:
        content: of the file, where it was read already.

    Raises:
        DatasetError: naming the file.
    """
    size = decoding.image_size
    with opened(path, content) as upright:
        box = _centre(upright.size, decoding.centre_crop) if crop_seed is None else _random_box(upright.size, crop_seed)
        image = convert(upright, decoding.channels)
        whole = box == (0.0, 0.0, float(image.width), float(image.height))
        if not whole or image.size != (size, size):
            image = image.resize((size, size), FILTERS[decoding.interpolation], box=box)
        array: Pixels = np.asarray(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array


def decode_hashed(path: Path, decoding: Decoding, crop_seed: int | None = None) -> tuple[str, Pixels]:
    """sha256 (hex) of a file, and what `decode` makes of these very bytes. Raises DatasetError."""
    content = content_of(path)
    return hashlib.sha256(content).hexdigest(), decode(path, decoding, crop_seed, content)


def content_of(path: Path) -> bytes:
    """All of a file. Raises DatasetError, as for one that cannot be decoded."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _undecodable(path, error) from error


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """A picture, turned as its EXIF orientation says.

    Raises:
        DatasetError: naming the file, also for what is found wrong while it is used.
    """
    try:
        with Image.open(path if content is None else io.BytesIO(content)) as file:
            _check_size(file)
            file.load()
            yield _upright(file)
    except UnidentifiedImageError as error:  # its own text repeats the whole path
        raise DatasetError(f"{path} cannot be decoded (no image format that is known): remove or replace it") from error
    except _UNREADABLE as error:
        raise _undecodable(path, error) from error


def _undecodable(path: Path, error: Exception) -> DatasetError:
    return DatasetError(f"{path} cannot be decoded ({error}): remove or replace it")


def _check_size(file: Image.Image) -> None:
    """Raise what Pillow only warns of; warnings are turned into errors for a whole process alone, not for a thread."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and file.width * file.height > limit:
        raise Image.DecompressionBombError(f"{file.width}x{file.height} pixels: more than {limit} are not decoded")


def _upright(loaded: Image.Image) -> Image.Image:
    """Turned as its orientation says; as it is stored where its EXIF data are damaged, which viewers overlook too."""
    try:
        turn = _TURNS.get(loaded.getexif().get(ExifTags.Base.Orientation, 1))
    except _UNREADABLE:
        return loaded
    return loaded if turn is None else loaded.transpose(turn)


def convert(image: Image.Image, channels: int) -> Image.Image:
    """A picture as grey (1) or RGB (3); where it is transparent, `BACKGROUND` shows through.

    Raises:
        ValueError: its pixels have more than 8 bits, which would be cut off at 255.
    """
    if image.mode[0] in "IF":
        raise ValueError(f"its pixels are of mode {image.mode}, more than 8 bits: save it with 8 bits")
    if image.has_transparency_data:
        whole = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        whole.alpha_composite(image.convert("RGBA"))
        image = whole.convert("RGB")
    return image.convert("L" if channels == 1 else "RGB")


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
    return _whole_within_ratio(width, height)


def _whole_within_ratio(width: int, height: int) -> tuple[float, float, float, float]:
    """The middle of a picture, as much as the limits of the ratio leave: what torchvision takes after ten misses."""
    w = min(width, round(height * CROP_RATIO[1]))
    h = min(height, round(width / CROP_RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
