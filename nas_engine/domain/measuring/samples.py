"""Raw samples: blocks of consecutive timed runs, integers of nanoseconds, and the lossless bytes they travel as."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.measuring.profile import MAX_RUNS_PER_BLOCK

MAX_SAMPLE_NS = 3_600 * 10**9  # an inference of more than an hour is a broken clock
MAX_SAMPLES_BYTES = 64 * 2**20


class BlockStatus(Enum):
    """Whether the samples of a block may be used."""

    CLEAN = 0
    DIRTY = 1  # something interfered (preemption, a starved thread); kept, used only where too few clean blocks are
    DISCARDED = 2  # taken at the wrong clock or temperature; kept as a record, never used


class Durations(Sequence[int]):
    """Integers of nanoseconds in eight bytes each, not in a Python object each; equal to any sequence of the same.

    Args:
        values: integers of 64 bits; an array of them is taken as it is.

    Raises:
        InvalidMeasurementError: they are no such integers.
    """

    __slots__ = ("_array",)

    def __init__(self, values: Sequence[int] | npt.NDArray[np.int64]) -> None:
        try:
            array = np.asarray(values, dtype=np.int64)
        except (OverflowError, ValueError, TypeError) as error:
            raise InvalidMeasurementError(f"samples are no integers of 64 bits: {error}") from error
        if array.ndim != 1:
            raise InvalidMeasurementError(f"samples are an array of shape {array.shape}: give a flat one")
        self._array = array.view()
        self._array.flags.writeable = False

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = self._array if dtype is None else self._array.astype(dtype, copy=False)
        return array.copy() if copy else array

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Durations: ...
    def __getitem__(self, index: int | slice) -> int | Durations:
        return Durations(self._array[index]) if isinstance(index, slice) else int(self._array[index])

    def __iter__(self) -> Iterator[int]:
        return iter(self._array.tolist())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Durations):
            return np.array_equal(self._array, other._array)
        return isinstance(other, Sequence) and self._array.tolist() == list(other)

    def __hash__(self) -> int:
        return hash(self._array.tobytes())

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclass(frozen=True, slots=True)
class SampleBlock:
    """Consecutive timed runs.

    Attributes:
        e2e_ns: one duration per run, in order: the runtime's public call, as an integer of nanoseconds.
        npu_ns: the accelerator's own time per run where the runtime gives it, else empty; never mixed with e2e_ns.
        status: whether the block may be used.
        num_involuntary_switches: preemptions of the timing thread during the block; None where not known.
        cpu_time_ns: processor time of the timing thread during the block; None where not known.
    """

    e2e_ns: Sequence[int]
    npu_ns: Sequence[int] = ()
    status: BlockStatus = BlockStatus.CLEAN
    num_involuntary_switches: int | None = None
    cpu_time_ns: int | None = None

    def __post_init__(self) -> None:
        for name in ("e2e_ns", "npu_ns"):  # a measurement may hold eight million of them
            object.__setattr__(self, name, Durations(getattr(self, name)))
        if not self.e2e_ns:
            raise InvalidMeasurementError("a sample block is empty: record at least one run")
        if self.npu_ns and len(self.npu_ns) != len(self.e2e_ns):
            raise InvalidMeasurementError(f"{len(self.npu_ns)} npu samples for {len(self.e2e_ns)} runs: give one a run")
        low, high = _range(self.e2e_ns)
        npu_low, npu_high = _range(self.npu_ns) if self.npu_ns else (0, 0)
        if low <= 0 or npu_low < 0 or max(high, npu_high) > MAX_SAMPLE_NS:
            raise InvalidMeasurementError(
                f"samples reach from {low} to {high} ns (npu: {npu_low} to {npu_high}): they must be > 0 (npu: not "
                "negative) and under an hour"
            )
        for what, number in (("switches", self.num_involuntary_switches), ("cpu time", self.cpu_time_ns)):
            if number is not None and number < 0:
                raise InvalidMeasurementError(f"{what} of a sample block is {number}: it must not be negative")

    @property
    def median_ns(self) -> float:
        """Median duration of the runtime's public call over the block, nanoseconds."""
        return float(np.median(np.asarray(self.e2e_ns, dtype=np.int64)))


def _range(durations: Sequence[int]) -> tuple[int, int]:
    array = np.asarray(durations, dtype=np.int64)
    return int(array.min()), int(array.max())


_FORMAT_VERSION = 1
_PIECE_BYTES = 1 << 16
_NONE = -1  # how an unknown count or time is written


def compress_blocks(blocks: Sequence[SampleBlock]) -> bytes:
    """Blocks as zlib of little-endian int64: version, number of blocks, then per block its status, number of runs,
    whether npu times follow, switches, cpu time, the runs, the npu times. Lossless; `decompress_blocks` reads it."""
    packed = zlib.compressobj()
    parts = [packed.compress(struct.pack("<2q", _FORMAT_VERSION, len(blocks)))]
    for block in blocks:
        switches = _NONE if block.num_involuntary_switches is None else block.num_involuntary_switches
        cpu_time_ns = _NONE if block.cpu_time_ns is None else block.cpu_time_ns
        head = (block.status.value, len(block.e2e_ns), int(bool(block.npu_ns)), switches, cpu_time_ns)
        parts.append(packed.compress(struct.pack("<5q", *head)))
        parts += (packed.compress(np.asarray(runs, dtype="<i8").tobytes()) for runs in (block.e2e_ns, block.npu_ns))
    return b"".join((*parts, packed.flush()))


def decompress_blocks(data: bytes, max_blocks: int | None = None) -> tuple[SampleBlock, ...]:
    """The inverse of `compress_blocks`; refuses anything that is not exactly its output.

    Args:
        max_blocks: of at most `MAX_RUNS_PER_BLOCK` runs each, from whoever is not trusted: bounds what is unpacked.
            Without it 64 MiB are.

    Raises:
        InvalidMeasurementError: the bytes are malformed, or hold more than that.
    """
    limit = MAX_SAMPLES_BYTES
    if max_blocks is not None:  # so many blocks of the longest kind, unpacked
        limit = min(limit, 8 * (2 + max_blocks * (5 + 2 * MAX_RUNS_PER_BLOCK)))
    try:
        raw = _unpacked(data, limit)
        if raw is None or len(raw) % 8:
            message = f"{len(data)} bytes of samples are cut, padded or expand beyond {limit} bytes"
            raise InvalidMeasurementError(message)
        words = np.frombuffer(raw, dtype="<i8")
        blocks, end = _read_blocks(words)
    except (zlib.error, IndexError, ValueError) as error:
        raise InvalidMeasurementError(f"not compressed samples: {error}") from error
    if end != len(words):
        raise InvalidMeasurementError(f"{len(words) - end} words follow the last block of samples")
    longest = max((len(block.e2e_ns) for block in blocks), default=0)
    if max_blocks is not None and (len(blocks) > max_blocks or longest > MAX_RUNS_PER_BLOCK):
        raise InvalidMeasurementError(
            f"{len(blocks)} blocks of up to {longest} runs: at most {max_blocks} of {MAX_RUNS_PER_BLOCK} are taken"
        )
    return blocks


def _unpacked(data: bytes, limit: int) -> bytearray | None:
    """What is compressed, a piece at a time: at once it would be held twice. None where it is cut, padded or larger."""
    stream, raw = zlib.decompressobj(), bytearray()
    for start in range(0, len(data), _PIECE_BYTES):
        piece = data[start : start + _PIECE_BYTES]
        while not stream.eof and len(raw) <= limit:
            unpacked = stream.decompress(piece, _PIECE_BYTES)
            raw += unpacked
            piece = stream.unconsumed_tail
            if not piece and len(unpacked) < _PIECE_BYTES:
                break
        if stream.eof or len(raw) > limit:
            padded = bool(stream.unused_data) or start + _PIECE_BYTES < len(data)
            return None if padded or len(raw) > limit else raw
    return None


def _read_blocks(words: npt.NDArray[np.int64]) -> tuple[tuple[SampleBlock, ...], int]:
    """The blocks, which share the memory of `words`, and where they end."""
    num_blocks = int(words[1])
    if words[0] != _FORMAT_VERSION:
        raise InvalidMeasurementError(f"samples are in format {words[0]}: this version reads {_FORMAT_VERSION}")
    blocks: list[SampleBlock] = []
    at = 2
    while len(blocks) < num_blocks:  # ends: each turn consumes at least five words or raises
        status, num_runs, has_npu, switches, cpu_time_ns = words[at : at + 5].tolist()
        at += 5
        end = at + num_runs * (1 + has_npu)
        if num_runs < 1 or has_npu not in (0, 1) or end > len(words):
            raise InvalidMeasurementError(f"block {len(blocks)} claims {num_runs} runs: the bytes do not hold them")
        blocks.append(
            SampleBlock(
                e2e_ns=Durations(words[at : at + num_runs]),
                npu_ns=Durations(words[at + num_runs : end]),
                status=BlockStatus(status),
                num_involuntary_switches=None if switches == _NONE else switches,
                cpu_time_ns=None if cpu_time_ns == _NONE else cpu_time_ns,
            )
        )
        at = end
    return tuple(blocks), at
