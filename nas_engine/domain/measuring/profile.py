"""How thoroughly to measure: the constants of the measurement protocol, each with its source.

[MLPerf] mlcommons/inference loadgen test_settings.h; [MLPerf Mobile] rule 2.9 of the mobile rules; [NVBench] NVIDIA
nvbench measure_cold.cu; [TVM] EvaluatorConfig; [ours] chosen from measurements on shared hosts and
from RK3588 kernel sources.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

from nas_engine.domain.errors import InvalidMeasurementError

ProfileName = Literal["quick", "standard", "audit"]
PROFILE_NAMES: tuple[ProfileName, ...] = get_args(ProfileName)
"""Every profile, the least thorough first."""
MAX_RUNS_PER_BLOCK = 20_000  # [ours] bounds the memory of very fast models: 100 ms at 5 us


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementProfile:
    """The settings of one measurement; `MeasurementProfile.named` gives those of a `ProfileName`.

    Seconds are of the device's monotonic clock; shares are fractions of 1.
    """

    name: str
    warmup_min_runs: int = 10  # [ours] above TVM's, TFLite's and OpenVINO's 1, as nn-Meter's 10
    warmup_min_s: float = 0.5  # [ours] wakes an NPU that powers off after 3 s idle, and lets governors rise
    warmup_window: int = 5  # [ours] steady: the medians of this many last groups of runs ...
    warmup_tolerance: float = 0.02  # [ours] ... lie within this share of each other
    warmup_cap_s: float = 5.0  # [ours] a host that never gets steady is measured all the same: the stop rule judges it
    max_blocks: int = 150  # bound of the loop: cap_s / block_min_s
    block_min_runs: int = 10  # [ours] enough runs for a median per block
    block_min_s: float = 0.1  # [TVM] min_repeat_ms = 100
    min_clean_blocks: int = 5  # [ours] fewest blocks for a bootstrap over block medians
    min_total_s: float = 1.0  # [ours] TFLite's min_secs
    min_runs: int = 100  # [MLPerf] SingleStream min_query_count
    ci_relative_half_width: float = 0.01  # [ours] stop when the 95 % interval of the median is this narrow
    cap_s: float = 15.0  # [NVBench] timeout; then NOISY
    clock_floor: float = 0.98  # [ours] NVBench discards below 0.75; boards with pinned clocks can be held tighter
    backoff_s: float = 0.5  # [NVBench] recovery delay after a discarded block ...
    backoff_factor: float = 1.5  # [NVBench] ... growing by this
    max_discards: int = 8  # [ours] bound of the loop: 0.5 s * 1.5^8 is 13 s; then THROTTLED
    temperature_start_c: float = 60.0  # [ours] well below the RK3588 vendor tree's 75 C threshold
    temperature_max_c: float = 80.0  # [ours] vendor target is 85 C
    temperature_slope_c_per_s: float = 0.1  # [ours] cooling no more: waiting on is of no use
    thermal_wait_s: float = 120.0  # [ours] MLPerf Mobile pauses 1 to 5 minutes
    thermal_poll_s: float = 2.0  # [ours]
    max_switches_per_run: float = 0.2  # [ours] involuntary context switches; 1.4 to 2.1 on a crowded host
    min_cpu_share: float = 0.95  # [ours] thread time over wall time; 0.70 to 0.77 on a crowded host
    canary_runs: int = 30  # [ours]
    canary_tolerance: float = 0.03  # [ours] against the baseline; beyond it the device is degraded
    canary_drift: float = 0.02  # [ours] after against before; beyond it DRIFT
    num_processes: int = 1  # pyperf: several processes see what one cannot (address layout, allocation)
    replication_tolerance: float = 0.05  # [MLPerf Mobile] replicate within 5 %

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not (math.isfinite(value) and value > 0):
                raise InvalidMeasurementError(
                    f"profile {self.name}: {field.name} is {value}, it must be finite and > 0"
                )

    @property
    def max_blocks_in_all(self) -> int:
        """Most sample blocks a measurement holds: kept and discarded ones of every process."""
        return self.num_processes * (self.max_blocks + self.max_discards)

    @classmethod
    def named(cls, name: str) -> MeasurementProfile:
        """Look up a profile of `PROFILE_NAMES`.

        Raises:
            InvalidMeasurementError: there is none.
        """
        match name:
            case "quick":
                return cls(
                    name=name,
                    warmup_min_s=0.1,
                    warmup_cap_s=0.5,
                    max_blocks=15,
                    min_clean_blocks=3,
                    min_total_s=0.3,
                    min_runs=30,
                    ci_relative_half_width=0.03,
                    cap_s=1.5,
                    thermal_wait_s=30.0,
                )
            case "standard":
                return cls(name=name)
            case "audit":
                return cls(name=name, num_processes=3)
            case _:
                known = f"{', '.join(PROFILE_NAMES[:-1])} or {PROFILE_NAMES[-1]}"
                raise InvalidMeasurementError(f"unknown measurement profile {name!r}: use {known}")
