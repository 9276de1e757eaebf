"""A measurement: raw samples in blocks, what they say (statistics), and whether they can be trusted (validity).

Agents stop measuring by these statistics and the server stores them: they are written once, here, pure over integers
of nanoseconds. Everything a reader of measurements needs from `environment` and `measuring` can be imported from here.

Sources of the constants are named beside them; [MLPerf] is mlcommons/inference loadgen early_stopping.cc, [NVBench] is
NVIDIA nvbench measure_cold.cu, [criterion] is criterion.rs, [pyperf] is psf/pyperf.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from nas_engine.domain.errors import InvalidMeasurementError
from nas_engine.domain.json_value import AS_DOCUMENT, JsonValue
from nas_engine.domain.measuring.environment import (
    ClockReading,
    DeviceClass,
    DeviceIdentity,
    Dtype,
    EnvironmentRecord,
    HardwareKey,
    ThermalReading,
)
from nas_engine.domain.measuring.layer_times import LayerProfile
from nas_engine.domain.measuring.profile import MeasurementProfile
from nas_engine.domain.measuring.samples import BlockStatus, SampleBlock, compress_blocks, decompress_blocks

__all__ = [
    "BlockStatus",
    "CanaryReading",
    "ClockReading",
    "DeviceClass",
    "DeviceIdentity",
    "Dtype",
    "EnvironmentRecord",
    "HardwareKey",
    "InvalidMeasurementError",
    "LatencyStats",
    "Measurement",
    "MeasurementProfile",
    "SampleBlock",
    "ThermalReading",
    "Validity",
    "ValidityFlag",
    "ValidityPolicy",
    "compress_blocks",
    "decompress_blocks",
    "latency_stats",
    "median_interval_us",
    "usable_blocks",
    "worst_of",
    "worst_validity",
]

MIN_SAMPLES_P90 = 64  # [MLPerf] fewest samples for which a p90 has a 99 % confidence bound
MIN_SAMPLES_P99 = 662  # [MLPerf] the same for p99
BOOTSTRAP_RESAMPLES = 1000
MAX_DRAWS_AT_ONCE = 1_000_000  # numbers held at a time beside the samples themselves: 8 MB
CONFIDENCE = 0.95
MIN_CLEAN_BLOCKS = 3  # fewer say less about the spread than clean and disturbed ones together
TRIM = 0.05  # share cut from each end for the trimmed mean (DyNAS-T cuts 5 % each side)
TUKEY_MILD, TUKEY_SEVERE = 1.5, 3.0  # [criterion] fences, in interquartile ranges
MAD_TO_SIGMA = 1.4826  # makes the median absolute deviation estimate sigma of a normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStats:
    """What a set of samples says; microseconds. Outliers are counted (Tukey's fences), never deleted."""

    __pydantic_config__ = AS_DOCUMENT

    count: int
    """Number of timed runs that the statistics are computed from."""

    num_blocks: int
    """Number of sample blocks that the runs come from."""

    min_us: float
    """Shortest run, microseconds."""

    p10_us: float
    """10th percentile of the runs, microseconds."""

    p50_us: float
    """Median of the runs, microseconds: the latency that searches use."""

    mean_us: float
    """Arithmetic mean of the runs, microseconds."""

    trimmed_mean_us: float
    """Mean without the shortest and the longest 5 % of the runs, microseconds."""

    p90_us: float | None
    """90th percentile, microseconds; null below the sample floor of [MLPerf], where it would mean nothing."""

    p99_us: float | None
    """99th percentile, microseconds; null below the sample floor of [MLPerf]."""

    max_us: float
    """Longest run, microseconds."""

    stdev_us: float
    """Standard deviation of the runs, microseconds."""

    cv: float
    """Coefficient of variation: stdev_us over mean_us."""

    mad_scaled_us: float
    """Robust estimate of the standard deviation from the median absolute deviation, microseconds."""

    ci95_low_us: float
    """Lower end of the median's 95 % interval by block bootstrap, microseconds."""

    ci95_high_us: float
    """Upper end of the median's 95 % interval by block bootstrap, microseconds."""

    num_outliers_mild: int
    """Number of runs beyond Tukey's inner fences; counted, never deleted."""

    num_outliers_severe: int
    """Number of runs beyond Tukey's outer fences; counted, never deleted."""

    @property
    def ci95_relative_half_width(self) -> float:
        """Half the interval's width over the median: what the stop rule looks at."""
        return (self.ci95_high_us - self.ci95_low_us) / 2.0 / self.p50_us

    def to_json(self) -> JsonValue:
        """Write one member per field."""
        return asdict(self)


def usable_blocks(blocks: Sequence[SampleBlock]) -> tuple[SampleBlock, ...]:
    """The clean blocks where there are enough of them, else clean and dirty ones in order. Discarded blocks never.

    Raises:
        InvalidMeasurementError: every block was discarded, or there is none.
    """
    clean = tuple(b for b in blocks if b.status is BlockStatus.CLEAN)
    if len(clean) >= MIN_CLEAN_BLOCKS:
        return clean
    kept = tuple(b for b in blocks if b.status is not BlockStatus.DISCARDED)
    if not kept:
        raise InvalidMeasurementError(f"none of {len(blocks)} sample blocks is usable: measure again")
    return kept


def median_interval_us(blocks: Sequence[SampleBlock], rng: np.random.Generator) -> tuple[float, float]:
    """95 % interval of the median by block bootstrap, in microseconds.

    Blocks, not runs, are drawn with replacement, because runs within a block share the state of the host. A single
    block gives no view of the spread between blocks, so its runs are drawn instead. The interval is widened to
    contain the pooled median, which can lie outside it when blocks differ in size.
    """
    return _interval_us(blocks, float(np.median(_pooled_us(blocks))), rng)


def _pooled_us(blocks: Sequence[SampleBlock]) -> npt.NDArray[np.float64]:
    """Every run of the blocks in order, microseconds; written block by block, so that nothing is held twice."""
    pooled = np.empty(sum(len(block.e2e_ns) for block in blocks))
    at = 0
    for block in blocks:
        end = at + len(block.e2e_ns)
        np.divide(np.asarray(block.e2e_ns, dtype=np.int64), 1e3, out=pooled[at:end])
        at = end
    return pooled


def _interval_us(blocks: Sequence[SampleBlock], centre: float, rng: np.random.Generator) -> tuple[float, float]:
    values = np.array([b.median_ns / 1e3 for b in blocks]) if len(blocks) > 1 else _pooled_us(blocks)
    # A few resamples at a time: all at once would take 16 KB for every run of a single block.
    at_once = max(1, MAX_DRAWS_AT_ONCE // len(values))
    medians = np.empty(BOOTSTRAP_RESAMPLES)
    for start in range(0, BOOTSTRAP_RESAMPLES, at_once):
        part = medians[start : start + at_once]
        part[:] = np.median(values[rng.integers(0, len(values), size=(len(part), len(values)))], axis=1)
    low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return min(float(low), centre), max(float(high), centre)


def latency_stats(blocks: Sequence[SampleBlock], rng: np.random.Generator) -> LatencyStats:
    """Statistics over the usable blocks (see `usable_blocks`); deterministic for a given generator state.

    Raises:
        InvalidMeasurementError: no block is usable.
    """
    used = usable_blocks(blocks)
    samples_us = _pooled_us(used)
    samples_us.sort()
    count = len(samples_us)
    # It is sorted already: partitioning it in place changes nothing, and copies nothing.
    p10, p25, p75, p90, p99 = (
        float(q) for q in np.quantile(samples_us, [0.10, 0.25, 0.75, 0.90, 0.99], overwrite_input=True)
    )
    p50 = float(np.median(samples_us, overwrite_input=True))
    samples_us.sort()
    cut = math.floor(TRIM * count)
    mean = float(samples_us.mean())
    trimmed_mean = float(samples_us[cut : count - cut].mean())
    shortest, longest = float(samples_us[0]), float(samples_us[-1])
    num_mild, num_severe = _num_outliers(samples_us, p25, p75)
    stdev = _stdev_us(samples_us) if count > 1 else 0.0
    np.abs(np.subtract(samples_us, p50, out=samples_us), out=samples_us)  # distances from here on, in their place
    mad_scaled = float(np.median(samples_us, overwrite_input=True)) * MAD_TO_SIGMA
    del samples_us
    low, high = _interval_us(used, p50, rng)
    return LatencyStats(
        count=count,
        num_blocks=len(used),
        min_us=shortest,
        p10_us=p10,
        p50_us=p50,
        mean_us=mean,
        trimmed_mean_us=trimmed_mean,
        p90_us=p90 if count >= MIN_SAMPLES_P90 else None,
        p99_us=p99 if count >= MIN_SAMPLES_P99 else None,
        max_us=longest,
        stdev_us=stdev,
        cv=stdev / mean,
        mad_scaled_us=mad_scaled,
        ci95_low_us=low,
        ci95_high_us=high,
        num_outliers_mild=num_mild,
        num_outliers_severe=num_severe,
    )


def _num_outliers(samples_us: npt.NDArray[np.float64], p25: float, p75: float) -> tuple[int, int]:
    """How many runs lie beyond the inner fences alone, and beyond the outer ones too."""
    fence, num_mild, num_severe = p75 - p25, 0, 0
    at_once = MAX_DRAWS_AT_ONCE // 8  # four arrays of that length are held
    for start in range(0, len(samples_us), at_once):
        part = samples_us[start : start + at_once]
        outside = np.maximum(p25 - part, part - p75)
        num_severe += int(np.count_nonzero(outside > TUKEY_SEVERE * fence))
        num_mild += int(np.count_nonzero(outside > TUKEY_MILD * fence))
    return num_mild - num_severe, num_severe


def _stdev_us(samples_us: npt.NDArray[np.float64]) -> float:
    """Standard deviation of a sample; of very many runs a part at a time, because NumPy's holds them all once more."""
    if len(samples_us) <= MAX_DRAWS_AT_ONCE:
        return float(samples_us.std(ddof=1))
    mean = samples_us.mean()
    parts = (samples_us[at : at + MAX_DRAWS_AT_ONCE] - mean for at in range(0, len(samples_us), MAX_DRAWS_AT_ONCE))
    return math.sqrt(sum(float(part @ part) for part in parts) / (len(samples_us) - 1))


class Validity(StrEnum):
    """Whether a measurement can be trusted. Values are only added, never removed or renamed."""

    VALID = "valid"
    NOISY = "noisy"  # the interval of the median did not close within the time cap
    DRIFT = "drift"  # the canary ran at another speed after the measurement than before
    THROTTLED = "throttled"  # clock or temperature left its bounds and did not recover
    UNPINNED = "unpinned"  # a clock does not stand at what was requested
    INTERFERED = "interfered"  # other work took the processor from the timing thread
    DEGRADED_DEVICE = "degraded_device"  # the canary is off its baseline, in speed or in output
    CPU_FALLBACK = "cpu_fallback"  # operators that should run on the accelerator ran on the processor
    PARTIAL = "partial"  # cut short: too few blocks or runs


# Most severe first: the validity of a measurement is that of its worst flag.
_SEVERITY = (
    Validity.DEGRADED_DEVICE,
    Validity.PARTIAL,
    Validity.THROTTLED,
    Validity.DRIFT,
    Validity.CPU_FALLBACK,
    Validity.INTERFERED,
    Validity.UNPINNED,
    Validity.NOISY,
    Validity.VALID,
)


@dataclass(frozen=True, slots=True)
class ValidityFlag:
    """One thing that is wrong with a measurement, and why it is thought so."""

    validity: Validity
    reason: str

    def __post_init__(self) -> None:
        if self.validity is Validity.VALID or not self.reason:
            raise InvalidMeasurementError(f"flag {self.validity.value!r} with reason {self.reason!r}: name the trouble")


def worst_validity(flags: Iterable[ValidityFlag]) -> Validity:
    """The most severe of the flags; VALID without any."""
    return worst_of(flag.validity for flag in flags)


def worst_of(validities: Iterable[Validity]) -> Validity:
    """The most severe of them; VALID without any."""
    return min(validities, key=_SEVERITY.index, default=Validity.VALID)


class ValidityPolicy(StrEnum):
    """Which measurements may steer a search."""

    REQUIRE = "require"  # only VALID ones: boards
    ACCEPT_FLAGGED = "accept_flagged"  # shared hosts: noisy numbers are used, and shown as such

    def accepts(self, flags: Iterable[ValidityFlag]) -> bool:
        """Whether a measurement with these flags may be used.

        A device whose canary is off, or a measurement cut short, is refused under either policy: those are not noise.
        """
        worst = worst_validity(flags)
        if self is ValidityPolicy.REQUIRE:
            return worst is Validity.VALID
        return worst not in (Validity.DEGRADED_DEVICE, Validity.PARTIAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryReading:
    """One run of the golden model: known answer and known speed.

    Attributes:
        artifact_sha256: the golden model.
        median_us: median of its runs.
        ratio: median over the device's baseline; None before there is a baseline.
        output_digest: sha256 of its rounded outputs; None where outputs were not looked at.
    """

    artifact_sha256: str
    median_us: float
    ratio: float | None = None
    output_digest: str | None = None

    def __post_init__(self) -> None:
        numbers = [self.median_us] if self.ratio is None else [self.median_us, self.ratio]
        if not all(math.isfinite(n) and n > 0 for n in numbers):
            raise InvalidMeasurementError(f"canary reading holds {numbers}: it must be finite and > 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """All of one job's measuring: samples, flags, and the state of the board. Statistics are made from the blocks.

    Attributes:
        blocks: in the order they were taken, discarded ones included.
        flags: everything that is wrong with it; none means VALID.
        environment: the board around it.
        hardware_key: what it may be compared with.
        load_us, init_us, first_run_us: one-off costs, microseconds; never part of the latency.
        canary_before, canary_after: the golden model, where the job asked for it.
        npu_time_source: which call gave npu_ns; None where there is none.
        output_digest: sha256 of the model's rounded outputs on the job's fixed input.
        layers: time of each layer, from runs of their own; None where not asked for, or the runtime does not tell.
    """

    blocks: tuple[SampleBlock, ...]
    flags: tuple[ValidityFlag, ...]
    environment: EnvironmentRecord
    hardware_key: HardwareKey
    load_us: float
    init_us: float
    first_run_us: float
    canary_before: CanaryReading | None = None
    canary_after: CanaryReading | None = None
    npu_time_source: str | None = None
    output_digest: str | None = None
    layers: LayerProfile | None = None

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) and v >= 0 for v in (self.load_us, self.init_us, self.first_run_us)):
            raise InvalidMeasurementError("load, init and first-run times must be finite and >= 0 microseconds")

    @property
    def validity(self) -> Validity:
        """The most severe of the flags; VALID without any."""
        return worst_validity(self.flags)

    def stats(self, rng: np.random.Generator) -> LatencyStats:
        """Statistics of the usable blocks (see `latency_stats`)."""
        return latency_stats(self.blocks, rng)
