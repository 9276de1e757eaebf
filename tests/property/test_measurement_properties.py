"""Properties of sample blocks and statistics over arbitrary samples."""

from __future__ import annotations

import contextlib
import math
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.domain.measurement import (
    BlockStatus,
    InvalidMeasurementError,
    SampleBlock,
    compress_blocks,
    decompress_blocks,
    latency_stats,
)

_durations = st.integers(min_value=1, max_value=3_600 * 10**9)


@st.composite
def blocks(draw: st.DrawFn) -> SampleBlock:
    samples = draw(st.lists(_durations, min_size=1, max_size=30))
    return SampleBlock(
        tuple(samples),
        npu_ns=tuple(s // 2 for s in samples) if draw(st.booleans()) else (),
        status=draw(st.sampled_from(BlockStatus)),
        num_involuntary_switches=draw(st.none() | st.integers(0, 10**6)),
        cpu_time_ns=draw(st.none() | st.integers(0, 10**12)),
    )


@given(st.lists(blocks(), max_size=6))
def test_samples_survive_compression(series: list[SampleBlock]) -> None:
    assert decompress_blocks(compress_blocks(series)) == tuple(series)


@given(st.lists(blocks(), min_size=1, max_size=4), st.data())
def test_damaged_samples_are_refused_or_still_well_formed(series: list[SampleBlock], data: st.DataObject) -> None:
    whole = compress_blocks(series)
    cut = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[cut] ^= data.draw(st.integers(1, 255))
    for damaged in (whole[:cut], bytes(flipped), whole + b"x"):
        with contextlib.suppress(InvalidMeasurementError):
            assert decompress_blocks(damaged) == tuple(series)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_arbitrary_words_never_escape_the_error_type(words: list[int]) -> None:
    data = zlib.compress(np.array(words, dtype="<i8").tobytes())
    with contextlib.suppress(InvalidMeasurementError):
        decompress_blocks(data)


@given(st.lists(blocks(), min_size=1, max_size=6))
def test_statistics_are_ordered_and_finite(series: list[SampleBlock]) -> None:
    if all(b.status is BlockStatus.DISCARDED for b in series):
        return
    stats = latency_stats(series, np.random.default_rng(0))
    assert stats.min_us <= stats.p10_us <= stats.p50_us <= stats.max_us
    assert stats.ci95_low_us <= stats.p50_us <= stats.ci95_high_us
    assert stats.min_us <= stats.trimmed_mean_us * (1 + 1e-12)
    assert stats.trimmed_mean_us <= stats.max_us * (1 + 1e-12)
    assert all(math.isfinite(v) for v in (stats.mean_us, stats.stdev_us, stats.cv, stats.mad_scaled_us))
