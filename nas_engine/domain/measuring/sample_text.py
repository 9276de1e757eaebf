"""Stored samples as JSON text, unpacked and written a piece at a time: eight million runs are never all in memory."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nas_engine.domain.measuring.samples import BlockStatus

_PIECE_BYTES = 1 << 16
_WORD_BYTES = 8
_NONE = -1  # how an unknown count or time is stored


def blocks_as_json(data: bytes) -> Iterator[str]:
    """Pieces of a JSON array of blocks, members as `SampleBlock` calls them.

    Args:
        data: what `compress_blocks` gave and `decompress_blocks` took when it came in.
    """
    words = _Words(data)
    _, num_blocks = words.few(2)
    yield "["
    for number in range(num_blocks):
        status, num_runs, has_npu, switches, cpu_time_ns = words.few(5)
        yield '{"e2e_ns":[' if number == 0 else ',{"e2e_ns":['
        yield from words.written(num_runs)
        yield '],"npu_ns":['
        yield from words.written(num_runs * has_npu)
        known = {"num_involuntary_switches": switches, "cpu_time_ns": cpu_time_ns}
        rest = {name: None if value == _NONE else value for name, value in known.items()}
        yield "]," + json.dumps({"status": BlockStatus(status).name.lower(), **rest}, separators=(",", ":"))[1:]
    yield "]"


class _Words:
    """Compressed integers of 64 bits, in order."""

    def __init__(self, data: bytes) -> None:
        self._unpacked = b""
        self._more = _unpacked(data)

    def few(self, num: int) -> list[int]:
        """The next `num` of them."""
        return [int(word) for piece in self._pieces(num) for word in piece]

    def written(self, num: int) -> Iterator[str]:
        """The next `num` of them in decimal, with commas between."""
        comma = ""
        for piece in self._pieces(num):
            yield comma + ",".join(map(str, piece.tolist()))
            comma = ","

    def _pieces(self, num: int) -> Iterator[npt.NDArray[np.int64]]:
        while num:
            if len(self._unpacked) < _WORD_BYTES:
                more = next(self._more, b"")
                if not more:
                    raise ValueError(f"samples end {num} words early")
                self._unpacked += more
                continue
            taken = min(num, len(self._unpacked) // _WORD_BYTES)
            yield np.frombuffer(self._unpacked, dtype="<i8", count=taken)
            self._unpacked = self._unpacked[taken * _WORD_BYTES :]
            num -= taken


def _unpacked(data: bytes) -> Iterator[bytes]:
    stream = zlib.decompressobj()
    for start in range(0, len(data), _PIECE_BYTES):
        piece = data[start : start + _PIECE_BYTES]
        while piece:
            unpacked = stream.decompress(piece, _PIECE_BYTES)
            piece = stream.unconsumed_tail
            if unpacked:
                yield unpacked
    yield stream.flush()
