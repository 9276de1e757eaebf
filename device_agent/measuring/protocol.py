"""How samples are taken: warm-up until steady, blocks with checks, discard and back off, stop on the median's interval.

Pure over (session, clock, telemetry, lock): no branch here needs a board, so every one is tested with synthetic
readings. What happens around it (gates, canaries, flags on the whole) is in device_agent/measuring/procedure.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np

from device_agent.measuring.telemetry import BoardState, Telemetry
from device_agent.runtime.base import Clock, Session
from nas_engine.domain.measurement import (
    BlockStatus,
    MeasurementProfile,
    SampleBlock,
    Validity,
    ValidityFlag,
    median_interval_us,
    usable_blocks,
)
from nas_engine.domain.measuring.profile import MAX_RUNS_PER_BLOCK
from nas_engine.domain.measuring.validity import HARD_CAP_FACTOR, SLOW_BLOCK_FACTOR, SLOW_BLOCK_MIN_RUNS

WARMUP_GROUP_RUNS = 2  # runs per median of the warm-up
MAX_WARMUP_RUNS = 100_000

Lock = Callable[[], AbstractContextManager[None]]
"""Holds the host alone for one timed block."""


@dataclass(slots=True)
class SampledBlocks:
    """Blocks taken so far, and the readings beside them."""

    blocks: list[SampleBlock] = field(default_factory=list)
    hottest: dict[str, float] = field(default_factory=dict)
    discard_reasons: list[str] = field(default_factory=list)
    flags: list[ValidityFlag] = field(default_factory=list)

    def count(self, status: BlockStatus) -> int:
        """Count the blocks of one status."""
        return sum(1 for b in self.blocks if b.status is status)

    def note(self, state: BoardState) -> None:
        """Remember the highest temperature per zone."""
        for zone, celsius in state.temperatures_c:
            self.hottest[zone] = max(celsius, self.hottest.get(zone, celsius))


def warm_up(session: Session, clock: Clock, profile: MeasurementProfile) -> bool:
    """Run until at least the profile's runs and time have passed and the last medians agree.

    Returns:
        Whether it got steady; False when the cap ended it.
    """
    start_ns = clock.now_ns()
    medians: list[float] = []
    group: list[int] = []
    for run in range(1, MAX_WARMUP_RUNS + 1):
        before_ns = clock.now_ns()
        session.run()
        now_ns = clock.now_ns()
        group.append(now_ns - before_ns)
        elapsed_s = (now_ns - start_ns) / 1e9
        if len(group) == WARMUP_GROUP_RUNS:
            medians.append(statistics.median(group))
            group.clear()
        enough = run >= profile.warmup_min_runs and elapsed_s >= profile.warmup_min_s
        window = medians[-profile.warmup_window :]
        is_steady = len(window) == profile.warmup_window and max(window) <= min(window) * (1 + profile.warmup_tolerance)
        if enough and is_steady:
            return True
        if elapsed_s >= profile.warmup_cap_s and run >= 1:
            return False
    return False


def timed_runs(session: Session, clock: Clock, *, min_runs: int, min_s: float) -> tuple[list[int], list[int]]:
    """Time consecutive runs until both minima are met.

    Returns:
        End-to-end nanoseconds of each run, and the accelerator's, which are empty where the device reports none.
    """
    e2e_ns: list[int] = []
    npu_ns: list[int] = []
    total_ns, limit_ns = 0, round(min_s * 1e9)
    while len(e2e_ns) < MAX_RUNS_PER_BLOCK:
        before_ns = clock.now_ns()
        session.run()
        duration_ns = clock.now_ns() - before_ns
        e2e_ns.append(max(duration_ns, 1))
        npu = session.last_npu_ns()
        if npu is not None:
            npu_ns.append(npu)
        total_ns += duration_ns
        slow = total_ns >= limit_ns * SLOW_BLOCK_FACTOR and len(e2e_ns) >= SLOW_BLOCK_MIN_RUNS
        if slow or (total_ns >= limit_ns and len(e2e_ns) >= min_runs):
            break
    return e2e_ns, npu_ns if len(npu_ns) == len(e2e_ns) else []


class Sampler:
    """Takes blocks until there are enough good ones, or until the profile's cap.

    Args:
        session, clock, telemetry: what is measured, with what, beside which readings.
        lock: held for each block.
        profile: the constants.
        rng: for the bootstrap of the stop rule.
        uses_processor: judge preemption and processor share (runtimes that compute on the timing thread).
    """

    def __init__(
        self,
        session: Session,
        clock: Clock,
        telemetry: Telemetry,
        lock: Lock,
        profile: MeasurementProfile,
        rng: np.random.Generator,
        *,
        uses_processor: bool,
    ) -> None:
        self._session = session
        self._clock = clock
        self._telemetry = telemetry
        self._lock = lock
        self._profile = profile
        self._rng = rng
        self._uses_processor = uses_processor

    def sample(self) -> SampledBlocks:
        """Blocks, and the flags that follow from how sampling ended."""
        sampling = SampledBlocks()
        timed_ns = 0
        discards_in_row = 0
        for _ in range(self._profile.max_blocks + self._profile.max_discards):
            block, reason = self._block(sampling)
            sampling.blocks.append(block)
            if block.status is BlockStatus.DISCARDED:
                sampling.discard_reasons.append(reason)
                discards_in_row += 1
                if len(sampling.discard_reasons) >= self._profile.max_discards:
                    break
                self._clock.sleep(self._profile.backoff_s * self._profile.backoff_factor ** (discards_in_row - 1))
                continue
            discards_in_row = 0
            timed_ns += sum(block.e2e_ns)
            timed_s = timed_ns / 1e9
            kept = sampling.count(BlockStatus.CLEAN) + sampling.count(BlockStatus.DIRTY)
            is_at_cap = kept >= self._profile.min_clean_blocks and timed_s >= self._profile.cap_s
            is_at_hard_cap = kept >= self._profile.max_blocks or timed_s >= self._profile.cap_s * HARD_CAP_FACTOR
            if self._finished(sampling, timed_s) or is_at_cap or is_at_hard_cap:
                break
        sampling.flags = self._flags(sampling, timed_ns / 1e9)
        return sampling

    def _block(self, sampling: SampledBlocks) -> tuple[SampleBlock, str]:
        """One block and why it is discarded, if it is."""
        with self._lock():
            self._session.run()  # settles caches after waiting for the lock; not timed
            before, start_ns = self._telemetry.usage(), self._clock.now_ns()
            e2e_ns, npu_ns = timed_runs(
                self._session, self._clock, min_runs=self._profile.block_min_runs, min_s=self._profile.block_min_s
            )
            wall_ns, after = self._clock.now_ns() - start_ns, self._telemetry.usage()
        state = self._telemetry.state()
        sampling.note(state)
        switches, cpu_ns = (
            None if first is None or last is None else max(last - first, 0)
            for first, last in (
                (before.num_involuntary_switches, after.num_involuntary_switches),
                (before.cpu_time_ns, after.cpu_time_ns),
            )
        )
        reason = self._why_discarded(state)
        status = BlockStatus.DISCARDED if reason else self._cleanliness(len(e2e_ns), wall_ns, switches, cpu_ns)
        return SampleBlock(tuple(e2e_ns), tuple(npu_ns), status, switches, cpu_ns), reason

    def _why_discarded(self, state: BoardState) -> str:
        hottest = state.hottest_c
        if hottest is not None and hottest > self._profile.temperature_max_c:
            return f"{hottest:.1f} C is above {self._profile.temperature_max_c:.0f} C"
        for clock in state.clocks:
            if clock.pinned(1.0 - self._profile.clock_floor) is False:
                return f"clock {clock.name} at {clock.effective_khz} of {clock.requested_khz} kHz"
        return ""

    def _cleanliness(self, num_runs: int, wall_ns: int, switches: int | None, cpu_ns: int | None) -> BlockStatus:
        if not self._uses_processor:
            return BlockStatus.CLEAN
        preempted = switches is not None and switches / num_runs > self._profile.max_switches_per_run
        starved = cpu_ns is not None and wall_ns > 0 and cpu_ns / wall_ns < self._profile.min_cpu_share
        return BlockStatus.DIRTY if preempted or starved else BlockStatus.CLEAN

    def _finished(self, sampling: SampledBlocks, timed_s: float) -> bool:
        clean = [b for b in sampling.blocks if b.status is BlockStatus.CLEAN]
        enough = len(clean) >= self._profile.min_clean_blocks and timed_s >= self._profile.min_total_s
        if not enough or sum(len(b.e2e_ns) for b in clean) < self._profile.min_runs:
            return False
        return self._half_width(sampling) <= self._profile.ci_relative_half_width

    def _half_width(self, sampling: SampledBlocks) -> float:
        """Half the 95 % interval of the median, relative to its middle."""
        low, high = median_interval_us(usable_blocks(sampling.blocks), self._rng)
        return (high - low) / (high + low)

    def _flags(self, sampling: SampledBlocks, timed_s: float) -> list[ValidityFlag]:
        flags: list[ValidityFlag] = []
        profile = self._profile
        clean, dirty = sampling.count(BlockStatus.CLEAN), sampling.count(BlockStatus.DIRTY)
        if len(sampling.discard_reasons) >= profile.max_discards:
            last = sampling.discard_reasons[-1]
            flags.append(ValidityFlag(Validity.THROTTLED, f"{profile.max_discards} blocks discarded, last: {last}"))
        if clean + dirty < profile.min_clean_blocks:
            flags.append(ValidityFlag(Validity.PARTIAL, f"{clean + dirty} blocks of {profile.min_clean_blocks} wanted"))
        if clean < profile.min_clean_blocks and dirty:
            reason = f"{dirty} of {clean + dirty} blocks were preempted or starved of processor time"
            flags.append(ValidityFlag(Validity.INTERFERED, reason))
        if clean + dirty and not self._finished(sampling, timed_s):
            width = self._half_width(sampling)
            num_runs = sum(len(b.e2e_ns) for b in usable_blocks(sampling.blocks))
            reason = (
                f"median known to {width:.1%} after {timed_s:.1f} s and {num_runs} runs; "
                f"{profile.ci_relative_half_width:.1%} and {profile.min_runs} clean runs wanted"
            )
            flags.append(ValidityFlag(Validity.NOISY, reason))
        return flags
