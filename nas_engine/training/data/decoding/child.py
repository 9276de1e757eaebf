"""A process that does nothing but decode: ``python -m nas_engine.training.data.decoding.child``.

A line on standard input is a request: JSON of `DecodeRequest`. For each of its pictures a line of JSON comes back on
standard output, followed by as many bytes of pixels as it says. The process ends with its standard input, that is with
whoever started it, also where that was killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO, TypedDict

from nas_engine.settings.images import Interpolation
from nas_engine.training.data.decoding.decoders import Picture, decoded
from nas_engine.training.data.decoding.picture import Decoding


class DecodeRequest(TypedDict):
    """What a process is told: how to decode which pictures, (path, seed of the crop) each."""

    image_size: int
    channels: int
    centre_crop: float
    interpolation: str
    hashed: bool
    pictures: list[tuple[str, int | None]]


class DecodeAnswer(TypedDict):
    """What comes back of one picture, before its pixels."""

    size_bytes: int
    sha256: str
    error: str


def main() -> int:
    """Answer requests until there are no more."""
    # Ctrl-C reaches the whole terminal, a service's stop its whole group: the end of the input ends us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print
    try:
        for line in sys.stdin.buffer:
            _answer(json.loads(line), answers)
    except BrokenPipeError:  # nobody waits for it any more
        os._exit(0)
    return 0


def _answer(request: DecodeRequest, answers: BinaryIO) -> None:
    decoding = Decoding(
        image_size=request["image_size"],
        channels=request["channels"],
        centre_crop=request["centre_crop"],
        interpolation=Interpolation(request["interpolation"]),
    )
    for path, seed in request["pictures"]:
        found = decoded(Picture(Path(path), seed), decoding, hashed=request["hashed"])
        pixels = b"" if found.pixels is None else found.pixels.tobytes()
        answer = DecodeAnswer(size_bytes=len(pixels), sha256=found.sha256, error=found.error)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.write(pixels)
        answers.flush()


if __name__ == "__main__":
    sys.exit(main())
