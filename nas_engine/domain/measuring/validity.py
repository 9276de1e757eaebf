"""Validity from what can be checked: raw samples, the profile they were taken by, the board's readings beside them.

The server judges every result by this, whatever flags its agent raised: an agent can add flags, never leave one out. It
asks for nothing that the measurement protocol (docs/explanation/measurement.md) does not keep by itself, so that an
honest agent is never contradicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from nas_engine.domain.measurement import (
    CanaryReading,
    Measurement,
    Validity,
    ValidityFlag,
    median_interval_us,
    usable_blocks,
)
from nas_engine.domain.measuring.environment import (
    PINNED_CLOCKS,
    ClockReading,
    DeviceClass,
    DeviceIdentity,
    EnvironmentRecord,
)
from nas_engine.domain.measuring.profile import MAX_RUNS_PER_BLOCK, MeasurementProfile
from nas_engine.domain.measuring.samples import BlockStatus, SampleBlock
from nas_engine.domain.text import MAX_REASON_CHARACTERS, one_line
from nas_engine.domain.uncertainty import value_text

HARD_CAP_FACTOR = 4.0  # [ours] of a profile's cap: sampling ends here even with too few blocks
SLOW_BLOCK_FACTOR = 5.0
"""A block of slow runs ends after this many times its length ..."""

SLOW_BLOCK_MIN_RUNS = 3
"""... once it has this many runs."""

MAX_IDLE_NPU_PERCENT = 10
"""More than this before a measurement begins is somebody else's work."""

INTERVAL_SLACK = 1.5
"""An agent stops when the median's interval has closed. Its ends are drawn: for some numbers of blocks another draw
gives the neighbouring block's median (of 9 blocks 3.1 % of draws lie at or below the second, the interval ends at
2.5 %)."""

MAX_SPREAD = 1e4
"""Longest over shortest run: four decades apart they are not runs of one model (a crowded host gives 10 to 1000)."""

MAX_TENTHS_RATIO = 3.0
"""90th over 10th percentile of the runs: a crowded host gives up to 2."""

BOOTSTRAP_SEED = 0x5EED


def recomputed_flags(
    measurement: Measurement, profile: MeasurementProfile, cpu_operators: Sequence[str] = ()
) -> tuple[ValidityFlag, ...]:
    """Judge a measurement by its samples and readings; its own flags are not looked at.

    Args:
        measurement: its `hardware_key` is that of the device as the server knows it.
        profile: what was asked for.
        cpu_operators: operators the converter left on the processor.
    """
    device_class = measurement.hardware_key.identity.device_class
    blocks = judged_blocks(measurement.blocks, profile, uses_processor=device_class is DeviceClass.EMULATED)
    return (
        *sampling_flags(blocks, profile),
        *_heat_flags(measurement, profile),
        *_drift_flags(measurement.canary_before, measurement.canary_after, profile),
        *clock_flags(measurement.environment.clocks, measurement.hardware_key.identity, profile),
        *_interference_flags(measurement.environment, device_class),
        *_fallback_flags(cpu_operators, device_class),
    )


def one_a_kind(flags: Iterable[ValidityFlag]) -> tuple[ValidityFlag, ...]:
    """Flags with the reasons of each kind in one, of `MAX_REASON_CHARACTERS` at most: a hundred of them say no more."""
    reasons: dict[Validity, dict[str, None]] = {}
    for flag in flags:
        reasons.setdefault(flag.validity, {})[flag.reason] = None
    return tuple(ValidityFlag(kind, one_line("; ".join(said), MAX_REASON_CHARACTERS)) for kind, said in reasons.items())


def united(raised: Iterable[ValidityFlag], found: Iterable[ValidityFlag]) -> tuple[ValidityFlag, ...]:
    """Every flag that was raised, and of those found the ones whose kind nobody raised."""
    flags = list(dict.fromkeys(raised))
    kinds = {flag.validity for flag in flags}
    return (*flags, *(flag for flag in dict.fromkeys(found) if flag.validity not in kinds))


def judged_blocks(
    blocks: Sequence[SampleBlock], profile: MeasurementProfile, *, uses_processor: bool
) -> tuple[SampleBlock, ...]:
    """The blocks as their counters say: one that calls itself clean and was preempted or starved is dirty.

    Args:
        uses_processor: the timing thread does the work itself, so that its counters mean something.
    """
    if not uses_processor:
        return tuple(blocks)
    return tuple(
        replace(block, status=BlockStatus.DIRTY)
        if block.status is BlockStatus.CLEAN and _disturbed(block, profile)
        else block
        for block in blocks
    )


def sampling_flags(blocks: Sequence[SampleBlock], profile: MeasurementProfile) -> tuple[ValidityFlag, ...]:
    """PARTIAL, THROTTLED, INTERFERED and NOISY, from the samples of all the profile's processes together."""
    flags: list[ValidityFlag] = []
    parts = profile.num_processes
    num_wanted = parts * profile.min_clean_blocks
    kept = [block for block in blocks if block.status is not BlockStatus.DISCARDED]
    whole = [block for block in kept if _whole(block, profile)]
    num_discarded, num_clean = len(blocks) - len(kept), sum(block.status is BlockStatus.CLEAN for block in whole)
    if num_discarded > parts * (profile.max_discards - 1):
        flags.append(ValidityFlag(Validity.THROTTLED, f"{num_discarded} of {len(blocks)} blocks were discarded"))
    if len(whole) < num_wanted:
        reason = f"{len(whole)} whole blocks of {num_wanted} that profile {profile.name} wants"
        flags.append(ValidityFlag(Validity.PARTIAL, reason))
    if kept and num_clean < min(num_wanted, len(whole)):
        reason = f"{len(whole) - num_clean} of {len(whole)} blocks were preempted or starved of processor time"
        flags.append(ValidityFlag(Validity.INTERFERED, reason))
    if kept:
        flags += _noise_flags(kept, profile)
    return tuple(flags)


def _whole(block: SampleBlock, profile: MeasurementProfile) -> bool:
    """Whether a block ended as the protocol ends one: with enough runs and time, as slow runs do, or at its cap."""
    num_runs, limit_ns, total_ns = len(block.e2e_ns), round(profile.block_min_s * 1e9), sum(block.e2e_ns)
    if num_runs >= MAX_RUNS_PER_BLOCK or (num_runs >= profile.block_min_runs and total_ns >= limit_ns):
        return True
    return num_runs >= SLOW_BLOCK_MIN_RUNS and total_ns >= limit_ns * SLOW_BLOCK_FACTOR


def _noise_flags(kept: Sequence[SampleBlock], profile: MeasurementProfile) -> list[ValidityFlag]:
    parts, used = profile.num_processes, usable_blocks(kept)
    flags: list[ValidityFlag] = []
    num_runs = sum(len(block.e2e_ns) for block in used)
    total_s = sum(sum(block.e2e_ns) for block in kept) / 1e9
    low, high = median_interval_us(used, np.random.default_rng(BOOTSTRAP_SEED))
    width = (high - low) / (high + low)
    # Processes that disagree by the replication tolerance spread the medians of their blocks by half of it each way.
    limit = profile.ci_relative_half_width + (profile.replication_tolerance / 2 if parts > 1 else 0.0)
    if width > limit * INTERVAL_SLACK or num_runs < parts * profile.min_runs or total_s < parts * profile.min_total_s:
        reason = (
            f"median known to {width:.1%} after {total_s:.1f} s and {num_runs} runs; {limit:.1%}, "
            f"{parts * profile.min_total_s:.1f} s and {parts * profile.min_runs} clean runs wanted"
        )
        flags.append(ValidityFlag(Validity.NOISY, reason))
    samples_us = np.concatenate([np.asarray(block.e2e_ns, dtype=np.int64) for block in used]) / 1e3
    p10, p90 = (float(value) for value in np.quantile(samples_us, [0.1, 0.9]))
    if p90 > p10 * MAX_TENTHS_RATIO or float(samples_us.max()) > float(samples_us.min()) * MAX_SPREAD:
        shortest, longest = float(samples_us.min()), float(samples_us.max())
        reason = f"runs take {_us(shortest)} to {_us(longest)}, the middle 80 % of them {_us(p10)} to {_us(p90)}"
        flags.append(ValidityFlag(Validity.NOISY, reason))
    return flags


def _disturbed(block: SampleBlock, profile: MeasurementProfile) -> bool:
    # Runs take at most the time that passes, so this never says more than an agent that knows the time that passed.
    switches, cpu_ns = block.num_involuntary_switches, block.cpu_time_ns
    preempted = switches is not None and switches / len(block.e2e_ns) > profile.max_switches_per_run
    return preempted or (cpu_ns is not None and cpu_ns / sum(block.e2e_ns) < profile.min_cpu_share)


def _heat_flags(measurement: Measurement, profile: MeasurementProfile) -> list[ValidityFlag]:
    """THROTTLED where a zone got too hot between the blocks and no block was discarded for it."""
    if any(block.status is BlockStatus.DISCARDED for block in measurement.blocks):
        return []
    for zone in measurement.environment.thermal:
        hottest, start = zone.max_c, zone.start_c
        if hottest is not None and hottest > profile.temperature_max_c and (start is None or hottest > start):
            limit = f"{profile.temperature_max_c:.0f} C"
            reason = f"{zone.zone} reached {hottest:.1f} C: blocks above {limit} are to be discarded"
            return [ValidityFlag(Validity.THROTTLED, reason)]
    return []


def _drift_flags(
    before: CanaryReading | None, after: CanaryReading | None, profile: MeasurementProfile
) -> list[ValidityFlag]:
    if before is None or after is None:
        return []
    drift = after.median_us / before.median_us - 1.0
    if abs(drift) <= profile.canary_drift:
        return []
    reason = f"the canary's time changed by {drift:+.1%}; {profile.canary_drift:.0%} is allowed"
    return [ValidityFlag(Validity.DRIFT, reason)]


def clock_flags(
    clocks: Sequence[ClockReading], identity: DeviceIdentity, profile: MeasurementProfile
) -> tuple[ValidityFlag, ...]:
    """UNPINNED unless every clock, read right after runs, stood at what was asked for; a board's must be pinned."""
    off = next((c for c in clocks if c.pinned(1.0 - profile.clock_floor) is False), None)
    if off is not None:
        reason = f"clock {off.name} reads {off.effective_khz} kHz, {off.requested_khz} requested"
    elif identity.device_class is not DeviceClass.BOARD:
        return ()
    elif not any(clock.requested_khz for clock in clocks):
        reason = "no clock of this board is pinned: run the agent with --pin-clocks"
    elif identity.clocks_profile != PINNED_CLOCKS:
        loose = sorted({c.name for c in clocks if c.requested_khz is None and c.name != "gpu"})
        reason = f"not every clock could be pinned, see the agent's log: {', '.join(loose) or 'one did not read back'}"
    else:
        return ()
    return (ValidityFlag(Validity.UNPINNED, reason),)


def _interference_flags(environment: EnvironmentRecord, device_class: DeviceClass) -> list[ValidityFlag]:
    flags: list[ValidityFlag] = []
    busy = max(environment.npu_load_percent or (0,))
    if busy > MAX_IDLE_NPU_PERCENT:
        flags.append(ValidityFlag(Validity.INTERFERED, f"the NPU was at {busy} % before the measurement began"))
    if device_class is DeviceClass.EMULATED and (environment.cgroup_num_throttled or 0) > 0:
        flags.append(ValidityFlag(Validity.INTERFERED, "the container reached its processor limit and was throttled"))
    return flags


def _fallback_flags(cpu_operators: Sequence[str], device_class: DeviceClass) -> list[ValidityFlag]:
    if not cpu_operators or device_class is DeviceClass.EMULATED:
        return []
    names = ", ".join(cpu_operators[:5])
    return [ValidityFlag(Validity.CPU_FALLBACK, f"{len(cpu_operators)} operators on the CPU: {names}")]


def _us(value_us: float) -> str:
    return value_text(value_us, "us", digits=3)
