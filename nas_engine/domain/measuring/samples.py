"""Raw samples: blocks of consecutive timed runs, integers of nanoseconds, and the lossless bytes they travel as."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.measuring.profile import MAX_RUNS_PER_BLOCK

MAX_SAMPLE_NS = 3_600 * 10**9  # an inference of more than an hour is a broken clock
MAX_SAMPLES_BYTES = 64 * 2**20


class BlockStatus(Enum):
    """Whether the samples of a block may be used."""

    CLEAN = 0
    DIRTY = 1  # something interfered (preemption, a starved thread); kept, used only where too few clean blocks are
    DISCARDED = 2  # taken at the wrong clock or temperature; kept as a record, never used


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

    e2e_ns: tuple[int, ...]
    npu_ns: tuple[int, ...] = ()
    status: BlockStatus = BlockStatus.CLEAN
    num_involuntary_switches: int | None = None
    cpu_time_ns: int | None = None

    def __post_init__(self) -> None:
        if not self.e2e_ns:
            raise InvalidMeasurementError("a sample block is empty: record at least one run")
        if self.npu_ns and len(self.npu_ns) != len(self.e2e_ns):
            raise InvalidMeasurementError(f"{len(self.npu_ns)} npu samples for {len(self.e2e_ns)} runs: give one a run")
        if min(self.e2e_ns) <= 0 or max(self.e2e_ns) > MAX_SAMPLE_NS or (self.npu_ns and min(self.npu_ns) < 0):
            raise InvalidMeasurementError(
                f"samples reach from {min(self.e2e_ns)} to {max(self.e2e_ns)} ns: they must be > 0 and under an hour"
            )
        if self.npu_ns and max(self.npu_ns) > MAX_SAMPLE_NS:
            raise InvalidMeasurementError(f"npu samples reach to {max(self.npu_ns)} ns: they must be under an hour")
        if min(self.num_involuntary_switches or 0, self.cpu_time_ns or 0) < 0:
            raise InvalidMeasurementError("a block counts switches or processor time below 0")

    @property
    def median_ns(self) -> float:
        """Median duration of the runtime's public call over the block, nanoseconds."""
        return float(np.median(np.asarray(self.e2e_ns, dtype=np.int64)))


_FORMAT_VERSION = 1
_NONE = -1  # how an unknown count or time is written


def compress_blocks(blocks: Sequence[SampleBlock]) -> bytes:
    """Blocks as zlib of little-endian int64: version, number of blocks, then per block its status, number of runs,
    whether npu times follow, switches, cpu time, the runs, the npu times. Lossless; `decompress_blocks` reads it."""
    words = [_FORMAT_VERSION, len(blocks)]
    for block in blocks:
        switches = _NONE if block.num_involuntary_switches is None else block.num_involuntary_switches
        cpu_time_ns = _NONE if block.cpu_time_ns is None else block.cpu_time_ns
        words += [block.status.value, len(block.e2e_ns), int(bool(block.npu_ns)), switches, cpu_time_ns]
        words += block.e2e_ns
        words += block.npu_ns
    return zlib.compress(struct.pack(f"<{len(words)}q", *words))


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
        stream = zlib.decompressobj()
        raw = stream.decompress(data, limit)
        if not stream.eof or stream.unused_data or len(raw) % 8:
            message = f"{len(data)} bytes of samples are cut, padded or expand beyond {limit} bytes"
            raise InvalidMeasurementError(message)
        words = struct.unpack(f"<{len(raw) // 8}q", raw)
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


def _read_blocks(words: Sequence[int]) -> tuple[tuple[SampleBlock, ...], int]:
    if words[0] != _FORMAT_VERSION:
        raise InvalidMeasurementError(f"samples are in format {words[0]}: this version reads {_FORMAT_VERSION}")
    blocks: list[SampleBlock] = []
    at = 2
    while len(blocks) < words[1]:  # ends: each turn consumes at least five words or raises
        status, num_runs, has_npu, switches, cpu_time_ns = words[at : at + 5]
        at += 5
        end = at + num_runs * (1 + has_npu)
        if num_runs < 1 or has_npu not in (0, 1) or end > len(words):
            raise InvalidMeasurementError(f"block {len(blocks)} claims {num_runs} runs: the bytes do not hold them")
        blocks.append(
            SampleBlock(
                e2e_ns=tuple(words[at : at + num_runs]),
                npu_ns=tuple(words[at + num_runs : end]),
                status=BlockStatus(status),
                num_involuntary_switches=None if switches == _NONE else switches,
                cpu_time_ns=None if cpu_time_ns == _NONE else cpu_time_ns,
            )
        )
        at = end
    return tuple(blocks), at
