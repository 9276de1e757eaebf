"""What decodes many pictures at a time: threads of this process, or processes of their own where cores are many.

Both give the same pixels in the order that was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from nas_engine.domain.errors import DatasetError
from nas_engine.training.data.decoding.picture import Decoding, Pixels, decode, decode_hashed

MIN_THREADS = 8
"""Threads that decode, at least: on few cores they wait for disks as well."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One file, and the seed of the crop that is wanted of it; None for its centre."""

    path: Path
    crop_seed: int | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came of one file.

    Attributes:
        pixels: (H, W, C); None where it cannot be decoded.
        sha256: (hex) of the bytes they were made of, where that was asked for.
        error: why it cannot be decoded; empty where it can.
    """

    pixels: Pixels | None
    sha256: str = ""
    error: str = ""


class Decoders(Protocol):
    """Decodes pictures, several at a time. Thread-safe."""

    def decode(self, pictures: Sequence[Picture], decoding: Decoding, *, hashed: bool = False) -> Sequence[Decoded]:
        """What comes of each, in order; `hashed` with the hash of the bytes each was made of."""


class ThreadDecoders:
    """Decodes in threads of this process: Pillow lets go of the interpreter while it decodes and resizes."""

    def decode(self, pictures: Sequence[Picture], decoding: Decoding, *, hashed: bool = False) -> Sequence[Decoded]:
        """Decode on the threads that all sets share."""
        return list(on_threads().map(lambda one: decoded(one, decoding, hashed=hashed), pictures))


def decoded(picture: Picture, decoding: Decoding, *, hashed: bool) -> Decoded:
    """Decode one picture here."""
    try:
        if hashed:
            sha256, pixels = decode_hashed(picture.path, decoding, picture.crop_seed)
            return Decoded(pixels, sha256)
        return Decoded(decode(picture.path, decoding, picture.crop_seed))
    except DatasetError as error:
        return Decoded(None, error=str(error))


@cache
def on_threads() -> ThreadPoolExecutor:
    """The one pool of decoding threads of this process."""
    return ThreadPoolExecutor(max(MIN_THREADS, num_cores()), thread_name_prefix="decode")


def num_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
