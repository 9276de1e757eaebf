"""A process that loads images through a cache of decoded pictures, again and again, until it is killed.

    python -m tests.support.decoding_run FOLDER CACHE [ROUNDS]

Prints a line for each batch, with the digest of its pixels.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from nas_engine.training.data.decoding.decoders import Picture, ThreadDecoders
from nas_engine.training.data.decoding.picture import Decoding
from nas_engine.training.data.decoding.pixel_cache import PixelCache

BATCH = 6
DECODING = Decoding(image_size=96, channels=3)


def batches(folder: Path) -> list[list[Picture]]:
    """The pictures of a folder, so many at a time."""
    paths = sorted(folder.glob("*"))
    return [[Picture(path) for path in paths[start : start + BATCH]] for start in range(0, len(paths), BATCH)]


def main(folder: Path, cache: PixelCache, rounds: int) -> None:
    """Load them; every second round in another size, so that there is always something to write."""
    for number in range(rounds):
        decoding = Decoding(image_size=96 + number // 2, channels=3) if number % 2 else DECODING
        for batch in batches(folder):
            pixels = cache.load(batch, decoding, ThreadDecoders())
            print(decoding.image_size, hashlib.sha256(pixels.tobytes()).hexdigest(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), PixelCache(Path(sys.argv[2]), 1 << 30, min_free_bytes=0), int(sys.argv[3]))
