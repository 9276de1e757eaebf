"""The whole measurement protocol with synthetic readings: gates, canaries, flags, merged processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent.failures import JobFailedError
from device_agent.jobs import merge_measurements
from device_agent.measuring.canary import Canary, output_digest
from device_agent.measuring.procedure import MeasureRequest, Phase, cool_down, run_measurement
from device_agent.measuring.telemetry import BoardState
from device_agent.runtime.base import SessionSettings, VirtualClock
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import (
    ClockReading,
    DeviceClass,
    Dtype,
    Measurement,
    MeasurementProfile,
    Validity,
)
from tests.support.fakes.board import COOL, PINNED, SLOW_CLOCK, STANDARD, ScriptedRuntime, ScriptedTelemetry, setup_of


def request(**changes: object) -> MeasureRequest:
    base = MeasureRequest(
        model=Path("model"), settings=SessionSettings(format="onnx"), profile=STANDARD, dtype=Dtype.FP32
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def measure(runtime: ScriptedRuntime, telemetry: ScriptedTelemetry, **changes: object) -> Measurement:
    return run_measurement(request(**changes), setup_of(runtime, telemetry), lambda _: None)


def flags_of(measurement: Measurement) -> set[Validity]:
    return {flag.validity for flag in measurement.flags}


CANARY = Canary(path=Path("golden"), sha256="ab" * 32, format="onnx", baseline_us=1000.0)


def test_a_measurement_passes_through_its_phases_and_records_its_surroundings() -> None:
    runtime = ScriptedRuntime()
    runtime.npu_ns = 600_000
    phases: list[Phase] = []
    warm = replace(COOL, temperatures_c=(("npu-thermal", 48.5),))
    telemetry = ScriptedTelemetry(COOL, COOL, warm)
    measurement = run_measurement(request(), setup_of(runtime, telemetry), phases.append)
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
    with pytest.raises(JobFailedError, match=r"130 %") as caught:
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
    setup = setup_of(runtime, ScriptedTelemetry(replace(COOL, clocks=(PINNED, memory, graphics))))
    assert run_measurement(request(), setup, lambda _: None).flags == ()
    half = replace(setup, identity=replace(setup.identity, clocks_profile="unpinned"))
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
