"""Samples written as JSON piece by piece are those that came in, and no more of them lie in memory than a piece."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.domain.measuring.sample_text import blocks_as_json
from nas_engine.domain.measuring.samples import (
    MAX_SAMPLE_NS,
    BlockStatus,
    SampleBlock,
    compress_blocks,
)

_COUNT = st.none() | st.integers(0, 2**40)
_RUNS = st.lists(st.integers(1, MAX_SAMPLE_NS), min_size=1, max_size=40)


@st.composite
def blocks(draw: st.DrawFn) -> SampleBlock:
    runs = draw(_RUNS)
    npu_ns = draw(st.just([]) | st.lists(st.integers(0, MAX_SAMPLE_NS), min_size=len(runs), max_size=len(runs)))
    return SampleBlock(runs, npu_ns, draw(st.sampled_from(BlockStatus)), draw(_COUNT), draw(_COUNT))


@given(st.lists(blocks(), max_size=5))
def test_what_is_written_is_what_came_in(taken: list[SampleBlock]) -> None:
    written = json.loads("".join(blocks_as_json(compress_blocks(taken))))
    assert written == [
        {
            "e2e_ns": list(block.e2e_ns),
            "npu_ns": list(block.npu_ns),
            "status": block.status.name.lower(),
            "num_involuntary_switches": block.num_involuntary_switches,
            "cpu_time_ns": block.cpu_time_ns,
        }
        for block in taken
    ]


def test_a_block_that_spans_many_pieces_is_written_whole() -> None:
    runs = np.random.default_rng(0).integers(1, MAX_SAMPLE_NS, 50_001)
    (written,) = json.loads("".join(blocks_as_json(compress_blocks([SampleBlock(runs, runs)]))))  # type: ignore[arg-type]
    assert written["e2e_ns"] == written["npu_ns"] == runs.tolist()


def test_a_large_record_needs_the_memory_of_a_piece() -> None:
    runs = np.random.default_rng(0).integers(1_000_000, 2_000_000, 300_000)
    data = compress_blocks([SampleBlock(runs)])  # type: ignore[arg-type]
    tracemalloc.start()
    num_characters = sum(len(piece) for piece in blocks_as_json(data))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_characters >= 8 * len(runs)
    assert peak_bytes < 1.5 * 2**20
