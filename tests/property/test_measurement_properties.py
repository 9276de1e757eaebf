"""Properties of sample blocks and statistics over arbitrary samples."""

from __future__ import annotations

import contextlib
import math
import zlib
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.measuring.protocol import Sampler
from device_agent.measuring.telemetry import SilentTelemetry
from nas_engine.domain.measurement import (
    BlockStatus,
    CanaryReading,
    ClockReading,
    DeviceClass,
    DeviceIdentity,
    Dtype,
    EnvironmentRecord,
    HardwareKey,
    InvalidMeasurementError,
    Measurement,
    MeasurementProfile,
    SampleBlock,
    ThermalReading,
    Validity,
    ValidityFlag,
    compress_blocks,
    decompress_blocks,
    latency_stats,
)
from nas_engine.domain.measuring.profile import PROFILE_NAMES
from nas_engine.domain.measuring.validity import recomputed_flags, sampling_flags, united

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


@st.composite
def readings(draw: st.DrawFn) -> EnvironmentRecord:
    temperatures = st.none() | st.floats(-50.0, 200.0)
    khz = st.none() | st.integers(0, 3_000_000)
    zone = st.builds(ThermalReading, zone=st.just("npu"), start_c=temperatures, max_c=temperatures, end_c=temperatures)
    clock = st.builds(ClockReading, name=st.just("npu"), requested_khz=khz, effective_khz=khz)
    return EnvironmentRecord(
        agent_version="1",
        protocol_version=1,
        clocks=tuple(draw(st.lists(clock, max_size=2))),
        thermal=tuple(draw(st.lists(zone, max_size=2))),
        npu_load_percent=draw(st.none() | st.just(()) | st.tuples(st.integers(0, 100))),
        cgroup_num_throttled=draw(st.none() | st.integers(0, 9)),
    )


_flags = st.builds(ValidityFlag, st.sampled_from([v for v in Validity if v is not Validity.VALID]), st.just("because"))
_canary = st.none() | st.builds(
    CanaryReading, artifact_sha256=st.just("0" * 64), median_us=st.floats(1e-3, 1e9), output_digest=st.just("a")
)


@st.composite
def results(draw: st.DrawFn) -> Measurement:
    identity = DeviceIdentity(
        board_model="Board",
        device_class=draw(st.sampled_from(DeviceClass)),
        runtime="onnxruntime",
        runtime_versions=(),
        clocks_profile=draw(st.sampled_from(["pinned-max", "unpinned"])),
        core_mask="any",
    )
    return Measurement(
        blocks=tuple(draw(st.lists(blocks(), min_size=1, max_size=6))),
        flags=tuple(draw(st.lists(_flags, max_size=4))),
        environment=draw(readings()),
        hardware_key=HardwareKey(identity=identity, dtype=Dtype.FP32),
        load_us=0.0,
        init_us=0.0,
        first_run_us=0.0,
        canary_before=draw(_canary),
        canary_after=draw(_canary),
    )


_profiles = st.sampled_from(PROFILE_NAMES).map(MeasurementProfile.named)


@given(results(), _profiles, st.lists(st.just("Softmax"), max_size=2))
def test_validity_holds_what_was_raised_and_what_is_found_and_never_less(
    result: Measurement, profile: MeasurementProfile, cpu_operators: list[str]
) -> None:
    found = recomputed_flags(result, profile, cpu_operators)
    flags = united(result.flags, found)
    assert set(flags) >= set(result.flags)
    assert {f.validity for f in flags} == {f.validity for f in (*result.flags, *found)}
    # What an agent says changes nothing of what is found.
    assert found == recomputed_flags(replace(result, flags=()), profile, cpu_operators)


@settings(max_examples=30)
@given(
    st.sampled_from(["quick", "standard"]),
    st.integers(200_000, 2_000_000_000),
    st.integers(0, 2**32),
    st.floats(0.0, 0.003),
)
def test_what_the_protocol_takes_of_a_steady_model_is_valid(name: str, run_ns: int, seed: int, noise: float) -> None:
    profile = MeasurementProfile.named(name)
    rng = np.random.default_rng(seed)
    session = _Steady(run_ns, noise, rng)
    sampling = Sampler(
        session, session, SilentTelemetry(), nullcontext, profile, np.random.default_rng(seed), uses_processor=False
    ).sample()
    found = {flag.validity for flag in sampling_flags(sampling.blocks, profile)}
    assert found <= {flag.validity for flag in sampling.flags}


class _Steady:
    """A model and the clock it runs by: every run takes as long, but for a little noise."""

    def __init__(self, run_ns: int, noise: float, rng: np.random.Generator) -> None:
        self._run_ns, self._noise, self._rng, self._at_ns = run_ns, noise, rng, 0

    def run(self) -> None:
        self._at_ns += max(1, round(self._run_ns * (1.0 + self._noise * float(self._rng.standard_normal()))))

    def last_npu_ns(self) -> int | None:
        return None

    def now_ns(self) -> int:
        return self._at_ns

    def sleep(self, seconds: float) -> None:
        self._at_ns += round(seconds * 1e9)

    def outputs(self) -> tuple[()]:
        return ()

    def close(self) -> None:
        pass
