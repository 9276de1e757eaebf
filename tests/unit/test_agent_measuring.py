"""The measurement protocol with synthetic readings: every branch, no board, no real time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent.canary import Canary, output_digest
from device_agent.failures import FailureType, JobFailedError
from device_agent.jobs import merge_measurements
from device_agent.measure import Sampler, Sampling, timed_runs, warm_up
from device_agent.procedure import MeasureRequest, Phase, cool_down, run_measurement
from device_agent.runtime.base import SessionSettings, VirtualClock
from device_agent.telemetry import BoardState, Usage
from nas_engine.domain.measurement import (
    BlockStatus,
    ClockReading,
    DeviceClass,
    Dtype,
    Measurement,
    MeasurementProfile,
    Validity,
)
from tests.fakes_board import CountingLock, ScriptedRuntime, ScriptedSession, ScriptedTelemetry, bench_of

STANDARD = MeasurementProfile.named("standard")
PINNED = ClockReading(name="npu", governor="userspace", requested_khz=1_000_000, effective_khz=1_000_000)
SLOW_CLOCK = replace(PINNED, effective_khz=200_000)
COOL = BoardState(clocks=(PINNED,), temperatures_c=(("npu-thermal", 45.0),))


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
) -> Sampling:
    rng = np.random.default_rng(1)
    return Sampler(
        session, clock, telemetry, lock or CountingLock(), profile, rng, uses_processor=uses_processor
    ).sample()


def validities(sampling: Sampling) -> set[Validity]:
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


# ---- the whole procedure


def request(**changes: object) -> MeasureRequest:
    base = MeasureRequest(
        model=Path("model"), settings=SessionSettings(format="onnx"), profile=STANDARD, dtype=Dtype.FP32
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def measure(runtime: ScriptedRuntime, telemetry: ScriptedTelemetry, **changes: object) -> Measurement:
    return run_measurement(request(**changes), bench_of(runtime, telemetry), lambda _: None)


def flags_of(measurement: Measurement) -> set[Validity]:
    return {flag.validity for flag in measurement.flags}


CANARY = Canary(path=Path("golden"), sha256="ab" * 32, format="onnx", baseline_us=1000.0)


def test_a_measurement_passes_through_its_phases_and_records_its_surroundings() -> None:
    runtime = ScriptedRuntime()
    runtime.npu_ns = 600_000
    phases: list[Phase] = []
    warm = replace(COOL, temperatures_c=(("npu-thermal", 48.5),))
    telemetry = ScriptedTelemetry(COOL, COOL, warm)
    measurement = run_measurement(request(), bench_of(runtime, telemetry), phases.append)
    assert phases == [Phase.PREPARING, Phase.WARMUP, Phase.MEASURING]
    assert measurement.validity is Validity.VALID
    assert (measurement.load_us, measurement.init_us, measurement.first_run_us) == (10.0, 20.0, 1000.0)
    assert measurement.npu_time_source == "scripted"
    (zone,) = measurement.environment.thermal
    assert (zone.start_c, zone.max_c, zone.end_c) == (45.0, 48.5, 48.5)
    assert measurement.environment.clocks == (PINNED,)
    assert all(session.closed for session in runtime.sessions)


def test_a_canary_in_order_is_recorded_before_and_after() -> None:
    measurement = measure(ScriptedRuntime(), ScriptedTelemetry(COOL), canary=CANARY)
    assert measurement.flags == ()
    assert measurement.canary_before is not None
    assert measurement.canary_before.ratio == pytest.approx(1.0)
    assert measurement.canary_after is not None


def test_a_slow_canary_is_tried_twice_and_then_says_degraded() -> None:
    runtime = ScriptedRuntime()
    runtime.durations["golden"] = lambda _: 1_300_000
    with pytest.raises(JobFailedError, match=r"1\.300") as caught:
        measure(runtime, ScriptedTelemetry(COOL), canary=CANARY)
    assert caught.value.type is FailureType.DEVICE_DEGRADED
    assert caught.value.canary is not None
    assert caught.value.canary.ratio == pytest.approx(1.3)
    assert runtime.loads == ["golden", "golden"]


def test_a_canary_that_recovers_at_the_second_try_lets_the_job_go_on() -> None:
    runtime = ScriptedRuntime()

    def durations(_: int) -> int:
        return 1_300_000 if len(runtime.loads) < 2 else 1_000_000

    runtime.durations["golden"] = durations
    assert measure(runtime, ScriptedTelemetry(COOL), canary=CANARY).validity is Validity.VALID


def test_a_canary_that_is_slow_on_a_warm_board_is_tried_again_once_it_has_cooled() -> None:
    runtime = ScriptedRuntime()
    runtime.durations["golden"] = lambda _: 1_300_000 if len(runtime.loads) < 2 else 1_000_000
    states = [at(50.0), at(50.0), at(78.0), at(70.0), at(58.0), replace(COOL, temperatures_c=())]
    before_ns = runtime.clock.now_ns()
    telemetry = ScriptedTelemetry(*states)
    assert measure(runtime, telemetry, canary=CANARY).validity is Validity.VALID
    waited_s = STANDARD.backoff_s + 2 * STANDARD.thermal_poll_s
    assert runtime.clock.now_ns() - before_ns > waited_s * 1e9
    assert telemetry.num_states > 5


def test_the_server_may_allow_a_canary_more() -> None:
    runtime = ScriptedRuntime()
    runtime.durations["golden"] = lambda _: 1_300_000
    canary = replace(CANARY, tolerance=0.5)
    assert measure(runtime, ScriptedTelemetry(COOL), canary=canary).validity is Validity.VALID


def test_a_canary_with_wrong_outputs_says_degraded() -> None:
    canary = replace(CANARY, output_digest=output_digest([np.array([5.0, 2.0])]))
    with pytest.raises(JobFailedError, match="other outputs"):
        measure(ScriptedRuntime(), ScriptedTelemetry(COOL), canary=canary)


def test_a_canary_that_drifts_during_the_measurement_flags_it() -> None:
    runtime = ScriptedRuntime()

    def durations(_: int) -> int:
        return 1_000_000 if len(runtime.loads) < 3 else 1_050_000

    runtime.durations["golden"] = durations
    measurement = measure(runtime, ScriptedTelemetry(COOL), canary=CANARY)
    assert flags_of(measurement) == {Validity.DRIFT}
    assert "+5.0%" in measurement.flags[0].reason


def test_a_canary_whose_outputs_change_meanwhile_flags_the_device() -> None:
    runtime = ScriptedRuntime()
    runtime.outputs["golden"] = [1.0, 1.9]
    assert flags_of(measure(runtime, ScriptedTelemetry(COOL), canary=CANARY)) == {Validity.DEGRADED_DEVICE}


def test_a_board_without_pinned_clocks_is_flagged() -> None:
    loose = BoardState(clocks=(ClockReading(name="npu", governor="simple_ondemand", effective_khz=1_000_000),))
    assert flags_of(measure(ScriptedRuntime(), ScriptedTelemetry(loose))) == {Validity.UNPINNED}
    emulated = ScriptedRuntime(device_class=DeviceClass.EMULATED)
    assert flags_of(measure(emulated, ScriptedTelemetry(loose))) == set()


def test_a_clock_that_left_its_setting_is_flagged() -> None:
    wrong = BoardState(clocks=(SLOW_CLOCK,))
    states = [COOL, COOL, wrong, *[COOL] * 20]  # before, gate, after the warm-up, then the blocks
    measurement = measure(ScriptedRuntime(), ScriptedTelemetry(*states))
    assert flags_of(measurement) == {Validity.UNPINNED}


def test_an_npu_that_slept_before_the_job_is_not_flagged_for_it() -> None:
    asleep = BoardState(clocks=(SLOW_CLOCK,))
    measurement = measure(ScriptedRuntime(), ScriptedTelemetry(asleep, asleep, COOL))
    assert measurement.validity is Validity.VALID


def test_a_board_of_which_one_clock_could_not_be_pinned_is_flagged() -> None:
    memory = ClockReading(name="dmc", governor="dmc_ondemand", effective_khz=2_112_000)
    graphics = ClockReading(name="gpu", governor="simple_ondemand", effective_khz=300_000)
    runtime = ScriptedRuntime()
    bench = bench_of(runtime, ScriptedTelemetry(replace(COOL, clocks=(PINNED, memory, graphics))))
    assert run_measurement(request(), bench, lambda _: None).flags == ()
    half = replace(bench, identity=replace(bench.identity, clocks_profile="unpinned"))
    (flag,) = run_measurement(request(), half, lambda _: None).flags
    assert flag.validity is Validity.UNPINNED
    assert flag.reason.endswith(": dmc")


def test_work_of_others_on_the_npu_is_flagged() -> None:
    busy = replace(COOL, npu_load_percent=(0, 35, 0))
    measurement = measure(ScriptedRuntime(), ScriptedTelemetry(busy))
    assert flags_of(measurement) == {Validity.INTERFERED}


def test_a_throttled_container_is_flagged_for_processor_runtimes() -> None:
    runtime = ScriptedRuntime(device_class=DeviceClass.EMULATED, uses_processor=True)
    before, after = BoardState(num_throttled=3), BoardState(num_throttled=9)
    measurement = measure(runtime, ScriptedTelemetry(before, before, after))
    assert flags_of(measurement) == {Validity.INTERFERED}
    assert measurement.environment.cgroup_num_throttled == 6


def test_operators_on_the_processor_are_flagged_on_boards() -> None:
    measurement = measure(ScriptedRuntime(), ScriptedTelemetry(COOL), cpu_operators=("TopK", "GridSample"))
    assert flags_of(measurement) == {Validity.CPU_FALLBACK}
    assert "TopK, GridSample" in measurement.flags[0].reason


def test_outputs_that_are_not_finite_end_the_job() -> None:
    runtime = ScriptedRuntime()
    runtime.outputs["model"] = [float("nan")]
    with pytest.raises(JobFailedError) as caught:
        measure(runtime, ScriptedTelemetry(COOL))
    assert caught.value.type is FailureType.OUTPUT_MISMATCH
    assert runtime.sessions[0].closed


def test_a_measurement_of_which_nothing_is_left_is_a_failure_not_a_number() -> None:
    states = [COOL, COOL, BoardState(clocks=(SLOW_CLOCK,))]
    with pytest.raises(JobFailedError, match="every block was discarded") as caught:
        measure(ScriptedRuntime(), ScriptedTelemetry(*states))
    assert caught.value.type is FailureType.THERMAL_TIMEOUT


def at(celsius: float) -> BoardState:
    return BoardState(temperatures_c=(("soc", celsius),))


def test_the_thermal_gate_opens_when_the_board_is_cool() -> None:
    clock = VirtualClock()
    cool_down(ScriptedTelemetry(at(72.0), at(66.0), at(59.0)), clock, STANDARD)
    assert clock.now_ns() == round(2 * STANDARD.thermal_poll_s * 1e9)


def test_the_thermal_gate_opens_when_the_board_cools_no_more() -> None:
    clock = VirtualClock()
    cool_down(ScriptedTelemetry(at(72.0), at(66.0), at(65.9)), clock, STANDARD)
    assert clock.now_ns() == round(2 * STANDARD.thermal_poll_s * 1e9)


def test_the_thermal_gate_closes_for_good_on_a_board_that_stays_too_hot() -> None:
    with pytest.raises(JobFailedError) as caught:
        cool_down(ScriptedTelemetry(at(95.0)), VirtualClock(), STANDARD)
    assert caught.value.type is FailureType.THERMAL_TIMEOUT


def test_a_board_without_thermometers_is_not_held_up() -> None:
    clock = VirtualClock()
    cool_down(ScriptedTelemetry(BoardState()), clock, STANDARD)
    assert clock.now_ns() == 0


def test_an_audit_merges_processes_and_flags_those_that_disagree() -> None:
    audit = MeasurementProfile.named("audit")
    fast = measure(ScriptedRuntime(), ScriptedTelemetry(COOL))
    slow_runtime = ScriptedRuntime()
    slow_runtime.durations["model"] = lambda _: 1_100_000
    slow = measure(slow_runtime, ScriptedTelemetry(COOL))
    agreeing = merge_measurements([fast, fast, fast], audit)
    assert agreeing.flags == ()
    assert len(agreeing.blocks) == 3 * len(fast.blocks)
    assert flags_of(merge_measurements([fast, slow, fast], audit)) == {Validity.NOISY}


def test_digests_see_values_and_shapes_and_forgive_rounding() -> None:
    base = output_digest([np.array([[1.0, -2.0]])])
    assert output_digest([np.array([[1.0 + 1e-6, -2.0]])]) == base
    assert output_digest([np.array([[1.01, -2.0]])]) != base
    assert output_digest([np.array([1.0, -2.0])]) != base
