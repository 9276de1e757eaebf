"""Reading untrusted files with errors that name the file, what is wrong with it, and what to do."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas_engine.domain.errors import DatasetError
from nas_engine.settings.images import Interpolation
from nas_engine.training.data.decoding.picture import FILTERS, Pixels, convert

# Several times the largest published file; more is a decompression bomb.
MAX_BYTES = 8 * 2**30


def require_folder(path: Path) -> None:
    """Raise DatasetError unless `path` is a folder."""
    if not path.is_dir():
        raise DatasetError(f"{path} is not a folder: give the folder that holds the data set")


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Content of a file, unpacked when its name ends in .gz.

    Raises:
        DatasetError: it cannot be read, its gzip data is damaged, or it unpacks to more than `max_bytes`.
    """
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        with gzip.open(path, "rb") as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({error}): download it again") from error
    if len(content) > max_bytes:
        raise DatasetError(f"{path} unpacks to more than {max_bytes} bytes: this is no published data set")
    return content


@contextmanager
def open_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """An .npz archive, never unpickling.

    Raises:
        DatasetError: it cannot be read, or a member holds Python objects.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DatasetError(f"{path} is a single array: give an .npz with images and labels")
        with archive:
            yield archive
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist") from error
    except ValueError as error:
        raise DatasetError(f"{path} holds Python objects or is no .npz ({error}): save plain arrays") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise DatasetError(f"{path} cannot be read as .npz ({error})") from error


def fit_array(
    pixels: NDArray[np.uint8],
    image_size: int | None,
    channels: int | None,
    interpolation: Interpolation = Interpolation.BICUBIC,
) -> Pixels:
    """Images (N, H, W, C) brought to a square size and a number of channels.

    Grey becomes colour by repetition; colour becomes grey by the ITU-R 601 luma.
    """
    fitted: Pixels = pixels
    if channels is not None and channels != pixels.shape[3]:
        fitted = np.stack([_to_array(convert(_to_image(p), channels)) for p in fitted])
    if image_size is not None and pixels.shape[1:3] != (image_size, image_size):
        size = (image_size, image_size)
        fitted = np.stack([_to_array(_to_image(p).resize(size, FILTERS[interpolation])) for p in fitted])
    return fitted


def _to_image(pixels_HWC: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels_HWC[:, :, 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)


def _to_array(image: Image.Image) -> Pixels:
    array: Pixels = np.asarray(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array
