"""Decoding in processes of their own, so that it takes as many cores as there are.

They are started anew rather than forked: a process with torch's threads must not be forked. Each ends with the pipe to
this process, so that none is left where this one is killed; one that dies over a picture is replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from nas_engine.training.data.decoding.child import DecodeAnswer, DecodeRequest
from nas_engine.training.data.decoding.decoders import Decoded, Decoders, Picture, ThreadDecoders, num_cores
from nas_engine.training.data.decoding.picture import Decoding

MAX_AT_ONCE = 16
"""Pictures of one request: few enough that the last ones of a batch are shared."""
CORES_WORTH_PROCESSES = 4
"""From so many cores on processes are used: on fewer, threads decode nearly as many pictures, without their memory
(`benchmarks/service/image_loading.py`)."""
MAX_PROCESSES = 32


class ProcessDecoders:
    """Decodes in `num_processes` processes. See `Decoders`."""

    def __init__(self, num_processes: int) -> None:
        """Start the processes. Raises OSError."""
        self._num_processes = num_processes
        self._idle: queue.LifoQueue[_Child] = queue.LifoQueue()
        self._requests = ThreadPoolExecutor(num_processes, thread_name_prefix="decode-requests")
        try:
            for _ in range(num_processes):
                self._idle.put(_Child())
        except OSError:
            self.close()
            raise

    def decode(self, pictures: Sequence[Picture], decoding: Decoding, *, hashed: bool = False) -> Sequence[Decoded]:
        """Share the pictures out among the processes, a few at a time."""
        at_once = min(MAX_AT_ONCE, max(1, len(pictures) // (2 * self._num_processes)))
        slices = [pictures[start : start + at_once] for start in range(0, len(pictures), at_once)]
        found = self._requests.map(lambda some: self._decoded(some, decoding, hashed), slices)
        return [one for some in found for one in some]

    def close(self) -> None:
        """End the processes that have nothing to do."""
        self._requests.shutdown()
        with contextlib.suppress(queue.Empty):
            while True:  # ends with the queue
                self._idle.get_nowait().end()

    def _decoded(
        self, pictures: Sequence[Picture], decoding: Decoding, hashed: bool, *, again: bool = False
    ) -> Sequence[Decoded]:
        child = self._idle.get()
        try:
            return child.decoded(pictures, decoding, hashed)
        except _DiedError as died:
            child = child.replaced()
            if len(pictures) == 1 and again:
                text = f"{pictures[0].path} cannot be decoded (the process {died}): remove or replace it"
                return [Decoded(None, error=text)]
        finally:
            self._idle.put(child)
        # One by one, so that the picture can be named that it died over; a process may also be killed from outside.
        return [one for picture in pictures for one in self._decoded([picture], decoding, hashed, again=True)]


class _DiedError(Exception):
    """A process ended while it decoded."""


class _Child:
    """A decoding process and the pipe to it; used by one thread at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nas_engine.training.data.decoding.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def decoded(self, pictures: Sequence[Picture], decoding: Decoding, hashed: bool) -> Sequence[Decoded]:
        """Have it decode. Raises _DiedError."""
        request = DecodeRequest(
            image_size=decoding.image_size,
            channels=decoding.channels,
            centre_crop=decoding.centre_crop,
            interpolation=decoding.interpolation.value,
            hashed=hashed,
            pictures=[(str(one.path), one.crop_seed) for one in pictures],
        )
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            return [self._answer(decoding) for _ in pictures]
        except (OSError, ValueError) as error:
            raise _DiedError(self._cause()) from error

    def replaced(self) -> _Child:
        """Another process in place of this one."""
        self.end()
        return _Child()

    def end(self) -> None:
        """Have it end, and wait for that."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        self._process.wait()

    def _answer(self, decoding: Decoding) -> Decoded:
        assert self._process.stdout is not None
        answer: DecodeAnswer = json.loads(self._process.stdout.readline())
        if answer["error"]:
            return Decoded(None, error=answer["error"])
        pixels = np.empty((decoding.image_size, decoding.image_size, decoding.channels), dtype=np.uint8)
        if answer["size_bytes"] != pixels.nbytes or self._process.stdout.readinto(pixels) != pixels.nbytes:  # type: ignore[attr-defined]
            raise ValueError("pixels are missing")
        return Decoded(pixels, answer["sha256"])

    def _cause(self) -> str:
        try:
            status = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:  # whatever it did instead of answering
            self._process.kill()
            status = self._process.wait()
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"


def decoders() -> Decoders:
    """What this process decodes with: processes where cores are many, shared among those that train together here."""
    num_together = max(int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1"))), 1)
    with _STARTING:
        return _decoders(num_cores() // num_together, os.getpid())


_STARTING = threading.Lock()


@cache
def _decoders(num_cores_here: int, _process_id: int) -> Decoders:
    """Made once per process: what another one started answers that one alone."""
    if num_cores_here < CORES_WORTH_PROCESSES:
        return ThreadDecoders()
    try:
        return ProcessDecoders(min(num_cores_here, MAX_PROCESSES))
    except OSError:  # no room for them: slower, and the same pixels
        return ThreadDecoders()
