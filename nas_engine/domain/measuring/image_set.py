"""Image sets: labelled test images in one file that a server, a board and a command can read without trusting it.

The file, little-endian throughout:

    8 bytes    magic `HILNASIM`
    uint32     version, 1
    uint32     length of the header, at most 64 KiB
    header     canonical JSON, see `ImageSetHeader`
    N uint16   labels
    N*H*W*C    pixels, uint8, image by image, rows from the top, channels last

Nothing of it is executed when it is read, and labels stand before the pixels, so that computing accuracy from
predictions reads a few kilobytes. Equal images with equal settings give equal bytes: the file is addressed by its
sha256.

Shapes: N images, H height, W width, C channels (1 grey or 3 RGB).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from nas_engine.domain.errors import DatasetError
from nas_engine.domain.json_value import JsonValue, canonical_json

MAGIC = b"HILNASIM"
VERSION = 1
MEDIA_TYPE = "application/vnd.hilnas.images"
MAX_HEADER_BYTES = 64 * 1024
MAX_IMAGES = 200_000
MAX_CLASSES = 65_536  # labels are uint16
MAX_SIDE = 4096
MAX_NAME_LENGTH = 200
_PREFIX = struct.Struct("<8sII")
HEAD_BYTES = _PREFIX.size + MAX_HEADER_BYTES + 2 * MAX_IMAGES
"""No file has more before its first pixel."""

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint16]


class Layout(Enum):
    """Order of the axes a model takes images in."""

    NCHW = "nchw"
    NHWC = "nhwc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How a model wants its images: `(pixel - mean) / std` per channel, in the given layout.

    Attributes:
        mean, std: per channel, in units of a pixel (0 to 255), as the RKNN converter writes them; 0 and 1 hand pixels
            over as they are.
        layout: order of the axes.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: Layout = Layout.NCHW

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise DatasetError(f"{len(self.mean)} means and {len(self.std)} deviations: give one of each per channel")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise DatasetError(f"mean {self.mean}, std {self.std}: they must be finite, deviations above 0")

    @property
    def is_identity(self) -> bool:
        """Whether pixels are handed over as they are."""
        return set(self.mean) == {0.0} and set(self.std) == {1.0}

    def apply(self, pixels_NHWC: Pixels) -> npt.NDArray[np.float32]:
        """Float32 images as the model takes them."""
        mean, std = (np.asarray(values, dtype=np.float32) for values in (self.mean, self.std))
        x_NHWC = (pixels_NHWC.astype(np.float32) - mean) / std
        x = x_NHWC if self.layout is Layout.NHWC else x_NHWC.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(x, dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSetHeader:
    """What an image set is, without its images.

    Attributes:
        name: for people.
        num_images, height, width, channels: of the pixels.
        num_classes: labels lie below it, and a model must have as many outputs.
        preprocessing: how pixels become inputs.
    """

    name: str
    num_images: int
    height: int
    width: int
    channels: int
    num_classes: int
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        if not self.name.isprintable() or not 1 <= len(self.name) <= MAX_NAME_LENGTH:
            raise DatasetError(f"image set is named {self.name[:220]!r}: use 1 to {MAX_NAME_LENGTH} printable letters")
        for what, value, most in (
            ("num_images", self.num_images, MAX_IMAGES),
            ("height", self.height, MAX_SIDE),
            ("width", self.width, MAX_SIDE),
            ("num_classes", self.num_classes, MAX_CLASSES),
        ):
            if not 1 <= value <= most:
                raise DatasetError(f"{what} of an image set is {value}: it must lie between 1 and {most}")
        if self.channels != len(self.preprocessing.mean):
            raise DatasetError(f"{self.channels} channels with {len(self.preprocessing.mean)} means: they must agree")

    @property
    def image_bytes(self) -> int:
        """Size of one image's pixels, bytes."""
        return self.height * self.width * self.channels

    def input_shape(self, batch: int) -> tuple[int, int, int, int]:
        """Shape of the input that a model must declare to take `batch` of these images."""
        if self.preprocessing.layout is Layout.NHWC:
            return batch, self.height, self.width, self.channels
        return batch, self.channels, self.height, self.width

    def to_json(self) -> dict[str, JsonValue]:
        """Write the header as it stands in the file."""
        how = self.preprocessing
        return {
            "name": self.name,
            "num_images": self.num_images,
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "num_classes": self.num_classes,
            "mean": list(how.mean),
            "std": list(how.std),
            "layout": how.layout.value,
        }

    @classmethod
    def from_json(cls, document: object) -> ImageSetHeader:
        """The inverse of `to_json`.

        Raises:
            DatasetError: a member is missing or malformed.
        """
        if not isinstance(document, Mapping):
            raise DatasetError("the header of the image set is no JSON object")
        try:
            how = Preprocessing(
                mean=tuple(_number(value) for value in document["mean"]),
                std=tuple(_number(value) for value in document["std"]),
                layout=Layout(document["layout"]),
            )
            counts = {
                name: _count(document[name]) for name in ("num_images", "height", "width", "channels", "num_classes")
            }
            return cls(name=str(document["name"]), preprocessing=how, **counts)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"the header of the image set is malformed: {error!r}") from error


class ImageSetFile:
    """An image set in a seekable stream; labels are read at once, pixels as they are asked for.

    Raises:
        DatasetError: it is no image set, or not a whole one.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        stream.seek(0)
        self.header, self.labels_N = read_head(stream.read(HEAD_BYTES))
        self._pixels_at = _pixels_at(self.header)
        size_bytes = file_bytes(self.header)
        if stream.seek(0, 2) != size_bytes:
            raise DatasetError(f"the image set has {stream.tell()} bytes, its header announces {size_bytes}: it is cut")

    def pixels(self, start: int, stop: int) -> Pixels:
        """Images `start` to `stop` as (N, H, W, C)."""
        header = self.header
        self._stream.seek(self._pixels_at + start * header.image_bytes)
        data = self._stream.read((stop - start) * header.image_bytes)
        if len(data) != (stop - start) * header.image_bytes:
            raise DatasetError(f"images {start} to {stop} cannot be read: the image set was cut meanwhile")
        return np.frombuffer(data, dtype=np.uint8).reshape(-1, header.height, header.width, header.channels)

    def inputs(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Images `start` to `stop` as the model takes them."""
        return self.header.preprocessing.apply(self.pixels(start, stop))


def write_image_set(
    name: str, pixels_NHWC: Pixels, labels_N: npt.NDArray[np.integer], preprocessing: Preprocessing, num_classes: int
) -> bytes:
    """The file of these images.

    Raises:
        DatasetError: pixels are not uint8 (N, H, W, 1 or 3), or a label has no class.
    """
    if pixels_NHWC.dtype != np.uint8 or pixels_NHWC.ndim != 4:
        raise DatasetError(f"images are {pixels_NHWC.dtype} {pixels_NHWC.shape}: they must be uint8 (N, H, W, C)")
    num_images, height, width, channels = pixels_NHWC.shape
    header = ImageSetHeader(
        name=name,
        num_images=num_images,
        height=height,
        width=width,
        channels=channels,
        num_classes=num_classes,
        preprocessing=preprocessing,
    )
    if labels_N.shape != (num_images,):
        raise DatasetError(f"{num_images} images have labels of shape {labels_N.shape}: give one per image")
    if labels_N.min() < 0 or labels_N.max() >= num_classes:
        raise DatasetError(f"labels reach from {labels_N.min()} to {labels_N.max()}, there are {num_classes} classes")
    text = canonical_json(header.to_json()).encode()
    return b"".join(
        (
            _PREFIX.pack(MAGIC, VERSION, len(text)),
            text,
            labels_N.astype("<u2").tobytes(),
            np.ascontiguousarray(pixels_NHWC).tobytes(),
        )
    )


def read_head(data: bytes) -> tuple[ImageSetHeader, Labels]:
    """Header and labels from the first `HEAD_BYTES` of a file (all of it where it is shorter).

    Raises:
        DatasetError: it is no image set, or of a version this code does not read.
    """
    if len(data) < _PREFIX.size or not data.startswith(MAGIC):
        raise DatasetError(f"not an image set: it does not begin with {MAGIC.decode()} (make one: hilnas images pack)")
    _, version, header_bytes = _PREFIX.unpack_from(data)
    if version != VERSION:
        raise DatasetError(f"image set of version {version}: this code reads {VERSION}")
    text = data[_PREFIX.size : _PREFIX.size + header_bytes]
    if header_bytes > MAX_HEADER_BYTES or len(text) != header_bytes:
        raise DatasetError(f"the image set's header of {header_bytes} bytes is cut or too long")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"the image set's header is no JSON: {error}") from error
    header = ImageSetHeader.from_json(document)
    if canonical_json(header.to_json()).encode() != text:
        raise DatasetError("the image set's header is not in its canonical form: write it with hilnas images pack")
    labels_at = _PREFIX.size + header_bytes
    stored = data[labels_at : labels_at + 2 * header.num_images]
    if len(stored) != 2 * header.num_images:
        raise DatasetError(f"the image set ends within its {header.num_images} labels: it is cut")
    labels_N = np.frombuffer(stored, dtype="<u2").astype(np.uint16)
    if int(labels_N.max()) >= header.num_classes:
        raise DatasetError(f"the image set has label {labels_N.max()} and {header.num_classes} classes")
    return header, labels_N


def file_bytes(header: ImageSetHeader) -> int:
    """Size of a whole file with this header."""
    return _pixels_at(header) + header.num_images * header.image_bytes


def _pixels_at(header: ImageSetHeader) -> int:
    return _PREFIX.size + len(canonical_json(header.to_json())) + 2 * header.num_images


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value
