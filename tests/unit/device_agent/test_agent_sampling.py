"""Warm-up, blocks, and when sampling stops, with synthetic readings: every branch, no board, no real time."""

from __future__ import annotations

import numpy as np
import pytest

from device_agent.measuring.protocol import SampledBlocks, Sampler, timed_runs, warm_up
from device_agent.measuring.telemetry import BoardState, Usage
from device_agent.runtime.base import VirtualClock
from nas_engine.domain.measurement import (
    BlockStatus,
    MeasurementProfile,
    Validity,
)
from tests.support.fakes.board import COOL, SLOW_CLOCK, STANDARD, CountingLock, ScriptedSession, ScriptedTelemetry


def constant(duration_ns: int = 1_000_000) -> tuple[ScriptedSession, VirtualClock]:
    clock = VirtualClock()
    return ScriptedSession(clock, lambda _: duration_ns), clock


def sample(
    session: ScriptedSession,
    clock: VirtualClock,
    telemetry: ScriptedTelemetry,
    *,
    profile: MeasurementProfile = STANDARD,
    uses_processor: bool = False,
    lock: CountingLock | None = None,
) -> SampledBlocks:
    rng = np.random.default_rng(1)
    return Sampler(
        session, clock, telemetry, lock or CountingLock(), profile, rng, uses_processor=uses_processor
    ).sample()


def validities(sampling: SampledBlocks) -> set[Validity]:
    return {flag.validity for flag in sampling.flags}


def test_warm_up_runs_until_both_minima_are_met_and_the_medians_agree() -> None:
    session, clock = constant()
    assert warm_up(session, clock, STANDARD)
    assert clock.now_ns() == 500_000_000
    assert session.num_runs == 500


def test_warm_up_waits_for_a_board_that_still_speeds_up() -> None:
    clock = VirtualClock()
    session = ScriptedSession(clock, lambda run: max(1_000_000, 10_000_000 - 100_000 * run))
    assert warm_up(session, clock, STANDARD)
    assert session.num_runs >= 90


def test_warm_up_gives_up_at_its_cap_on_a_board_that_never_settles() -> None:
    clock = VirtualClock()
    session = ScriptedSession(clock, lambda run: 1_000_000 if run // 2 % 2 else 3_000_000)
    assert not warm_up(session, clock, STANDARD)
    assert clock.now_ns() >= STANDARD.warmup_cap_s * 1e9


def test_a_block_of_fast_runs_lasts_its_minimum_time() -> None:
    session, clock = constant(1_000_000)
    e2e_ns, npu_ns = timed_runs(session, clock, min_runs=10, min_s=0.1)
    assert e2e_ns == [1_000_000] * 100
    assert npu_ns == []


def test_a_block_of_slow_runs_has_its_minimum_number_but_not_for_ever() -> None:
    session, clock = constant(30_000_000)
    assert len(timed_runs(session, clock, min_runs=10, min_s=0.1)[0]) == 10
    session, clock = constant(1_000_000_000)
    assert len(timed_runs(session, clock, min_runs=10, min_s=0.1)[0]) == 3


def test_npu_times_are_kept_apart() -> None:
    clock = VirtualClock()
    e2e_ns, npu_ns = timed_runs(ScriptedSession(clock, lambda _: 50_000_000, npu_ns=7), clock, min_runs=2, min_s=0.1)
    assert (e2e_ns, npu_ns) == ([50_000_000] * 2, [7, 7])


def test_a_quiet_board_gives_a_valid_measurement_as_soon_as_there_is_enough() -> None:
    session, clock = constant()
    lock = CountingLock()
    sampling = sample(session, clock, ScriptedTelemetry(COOL), lock=lock)
    assert sampling.flags == []
    assert len(sampling.blocks) == 10  # a second of blocks of 100 ms
    assert lock.num_taken == 10
    assert sampling.hottest == {"npu-thermal": 45.0}


def test_sampling_goes_on_until_the_median_is_known_well_enough() -> None:
    clock, rng = VirtualClock(), np.random.default_rng(3)
    factors = 1.0 + 0.2 * rng.standard_normal(2000)  # 20 % noise, drawn anew for every block of 10 runs
    session = ScriptedSession(clock, lambda run: max(1, int(20_000_000 * factors[(run // 11) % 2000])))
    sampling = sample(session, clock, ScriptedTelemetry(COOL))
    assert len(sampling.blocks) > 5
    assert validities(sampling) == {Validity.NOISY}
    assert "wanted" in sampling.flags[0].reason


def test_preempted_blocks_are_dirty_and_flag_the_measurement_when_too_few_are_clean() -> None:
    session, clock = constant()
    # Two readings around each block: 100 switches in 100 runs.
    telemetry = ScriptedTelemetry(COOL, usage=lambda call: Usage(100 * ((call + 1) // 2), None))
    sampling = sample(session, clock, telemetry, uses_processor=True)
    assert sampling.count(BlockStatus.DIRTY) == len(sampling.blocks)
    assert Validity.INTERFERED in validities(sampling)


def test_a_starved_timing_thread_makes_blocks_dirty() -> None:
    session, clock = constant()
    telemetry = ScriptedTelemetry(COOL, usage=lambda call: Usage(0, 70_000_000 * ((call + 1) // 2)))
    sampling = sample(session, clock, telemetry, uses_processor=True)
    assert sampling.count(BlockStatus.CLEAN) == 0
    assert sampling.blocks[0].cpu_time_ns == 70_000_000


def test_preemption_does_not_matter_where_the_accelerator_does_the_work() -> None:
    session, clock = constant()
    telemetry = ScriptedTelemetry(COOL, usage=lambda call: Usage(100 * call, 0))
    assert sample(session, clock, telemetry, uses_processor=False).flags == []


def test_a_few_dirty_blocks_are_left_out_and_do_not_flag() -> None:
    session, clock = constant()
    telemetry = ScriptedTelemetry(COOL, usage=lambda call: Usage(1000 if call > 0 else 0, None))
    sampling = sample(session, clock, telemetry, uses_processor=True)
    assert sampling.count(BlockStatus.DIRTY) == 1
    assert sampling.flags == []


def test_a_block_at_the_wrong_clock_is_discarded_and_backed_off_from() -> None:
    session, clock = constant()
    slow = BoardState(clocks=(SLOW_CLOCK,))
    sampling = sample(session, clock, ScriptedTelemetry(slow, slow, COOL))
    assert [b.status for b in sampling.blocks[:3]] == [BlockStatus.DISCARDED, BlockStatus.DISCARDED, BlockStatus.CLEAN]
    assert "clock npu at 200000 of 1000000 kHz" in sampling.discard_reasons[0]
    assert sampling.flags == []
    timed_s = sum(sum(b.e2e_ns) for b in sampling.blocks) / 1e9
    settling_s = len(sampling.blocks) * 0.001
    assert clock.now_ns() / 1e9 == pytest.approx(timed_s + settling_s + 0.5 + 0.75)


def test_a_board_that_stays_too_hot_is_throttled_after_a_bounded_number_of_tries() -> None:
    session, clock = constant()
    sampling = sample(session, clock, ScriptedTelemetry(BoardState(temperatures_c=(("soc", 95.0),))))
    assert len(sampling.blocks) == STANDARD.max_discards
    assert validities(sampling) == {Validity.THROTTLED, Validity.PARTIAL}


def test_very_slow_models_still_get_enough_blocks() -> None:
    session, clock = constant(800_000_000)
    sampling = sample(session, clock, ScriptedTelemetry(COOL), profile=MeasurementProfile.named("quick"))
    assert len(sampling.blocks) == 3
    assert Validity.PARTIAL not in validities(sampling)


def test_sampling_ends_at_the_hard_cap_with_a_partial_measurement() -> None:
    session, clock = constant(30_000_000_000)
    sampling = sample(session, clock, ScriptedTelemetry(COOL))
    assert Validity.PARTIAL in validities(sampling)
