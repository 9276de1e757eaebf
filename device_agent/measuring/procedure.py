"""One measurement from first check to last: gates, canary, load, warm-up, blocks, canary, flags.

Pure over (runtime, telemetry, lock) like `protocol`. Steps are those of the measurement protocol in
docs/explanation/measurement.md: PRE 2-4, LOAD 5, WARM 6, MEAS 7-9, POST 10-11.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import numpy as np

from device_agent.failures import JobFailedError
from device_agent.measuring.canary import Canary, canary_complaint, output_digest, run_canary
from device_agent.measuring.environment import complete_environment
from device_agent.measuring.protocol import SampledBlocks, Sampler, warm_up
from device_agent.measuring.setup import MeasuringSetup
from device_agent.measuring.telemetry import BoardState, Telemetry
from device_agent.runtime.base import Clock, LayerTimer, Session, SessionSettings
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import (
    BlockStatus,
    CanaryReading,
    Dtype,
    HardwareKey,
    Measurement,
    MeasurementProfile,
    Validity,
    ValidityFlag,
)
from nas_engine.domain.measuring.validity import BOOTSTRAP_SEED, clock_flags, recomputed_flags, united
from nas_engine.domain.text import one_line

PROFILED_S = 1.0  # for about so long the profiler runs
MAX_TROUBLE_CHARACTERS = 500
_log = logging.getLogger(__name__)


class Phase(Enum):
    """What is being done with a job."""

    ASSIGNED = "assigned"
    FETCHING = "fetching"
    PREPARING = "preparing"
    WARMUP = "warmup"
    MEASURING = "measuring"
    UPLOADING = "uploading"


OnPhase = Callable[[Phase], None]
OnTimed = Callable[[Measurement], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRequest:
    """What to measure and how.

    Attributes:
        model: path of the verified artifact.
        settings: how to load it.
        profile: how thoroughly to measure.
        dtype: arithmetic of the model, for the hardware key.
        canary: golden model to run around it; None for none.
        cpu_operators: operators the converter left on the processor.
        layer_times: whether the runtime's profiler is run after everything that is timed.
    """

    model: Path
    settings: SessionSettings
    profile: MeasurementProfile
    dtype: Dtype
    canary: Canary | None = None
    cpu_operators: tuple[str, ...] = ()
    layer_times: bool = False


@dataclass(frozen=True, slots=True)
class _Runs:
    """What the loaded model's runs gave.

    Attributes:
        first_ns: duration of the very first run.
        digest: of its outputs.
        awake: the board after warming up; an NPU that was idle before reads the clock it is parked at.
        sampling: the blocks.
    """

    first_ns: int
    digest: str
    awake: BoardState
    sampling: SampledBlocks


def run_measurement(
    request: MeasureRequest, setup: MeasuringSetup, on_phase: OnPhase, on_timed: OnTimed = lambda _: None
) -> Measurement:
    """Do the whole protocol for one model in this process.

    Args:
        on_timed: is given the measurement before layers are timed, where they are: a profiler that takes the process
            with it leaves that.

    Raises:
        JobFailedError: no trustworthy samples could be had; the type says why.
    """
    clock = setup.runtime.clock
    start_ns = clock.now_ns()
    on_phase(Phase.PREPARING)
    before = setup.telemetry.state()
    cool_down(setup.telemetry, clock, request.profile)
    canary_before = _canary_gate(request, setup)

    loaded = setup.runtime.load(request.model, request.settings)
    try:
        runs = _run_loaded(loaded.session, request.profile, setup, on_phase)
    finally:
        loaded.session.close()
    sampling = runs.sampling
    if all(b.status is BlockStatus.DISCARDED for b in sampling.blocks):
        raise JobFailedError(FailureType.THERMAL_TIMEOUT, f"every block was discarded: {sampling.discard_reasons[-1]}")

    canary_after = _canary_after(request, setup, canary_before)
    after = setup.telemetry.state()
    measured = Measurement(
        blocks=tuple(sampling.blocks),
        flags=(*sampling.flags, *_answer_flags(canary_before, canary_after)),
        environment=complete_environment(
            # Some engines tell their versions only once a model is loaded.
            replace(setup.environment, runtime_versions=setup.runtime.facts.versions),
            before,
            after,
            sampling.hottest,
            core_mask=setup.identity.core_mask,
            monotonic_ns=(start_ns, clock.now_ns()),
        ),
        hardware_key=HardwareKey(identity=setup.identity, dtype=request.dtype, batch=request.settings.batch),
        load_us=loaded.load_ns / 1e3,
        init_us=loaded.init_ns / 1e3,
        first_run_us=runs.first_ns / 1e3,
        canary_before=canary_before,
        canary_after=canary_after,
        npu_time_source=setup.runtime.facts.name if any(b.npu_ns for b in sampling.blocks) else None,
        output_digest=runs.digest,
    )
    found = (
        *clock_flags(runs.awake.clocks, setup.identity, request.profile),
        *recomputed_flags(measured, replace(request.profile, num_processes=1), request.cpu_operators),
    )
    measured = replace(measured, flags=united(measured.flags, found))
    if not request.layer_times or not isinstance(setup.runtime, LayerTimer):
        return measured
    on_timed(measured)
    return _with_layers(measured, request, setup, setup.runtime)


def _with_layers(
    measured: Measurement, request: MeasureRequest, setup: MeasuringSetup, timer: LayerTimer
) -> Measurement:
    """Time the layers, last of all: what a profiler costs touches no sample, no canary and no reading of the board."""
    try:
        with setup.lock():
            layers = timer.layer_times(request.model, request.settings, PROFILED_S)
    except Exception as error:  # engines raise what they like, and no failure of a profiler is one of the measurement
        return without_layers(measured, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    return replace(measured, layers=layers)


def without_layers(measured: Measurement, trouble: str) -> Measurement:
    """A measurement whose layers could not be timed, which says why."""
    said = one_line(trouble, MAX_TROUBLE_CHARACTERS)
    _log.warning("the layers were not timed: %s", said)
    return replace(measured, environment=replace(measured.environment, layers_trouble=said))


def _run_loaded(session: Session, profile: MeasurementProfile, setup: MeasuringSetup, on_phase: OnPhase) -> _Runs:
    clock = setup.runtime.clock
    first_start_ns = clock.now_ns()
    session.run()
    first_ns = clock.now_ns() - first_start_ns
    digest = output_digest(session.outputs())

    on_phase(Phase.WARMUP)
    with setup.lock():
        warm_up(session, clock, profile)
    awake = setup.telemetry.state()

    on_phase(Phase.MEASURING)
    sampler = Sampler(
        session,
        clock,
        setup.telemetry,
        setup.lock,
        profile,
        np.random.default_rng(BOOTSTRAP_SEED),
        uses_processor=setup.runtime.facts.uses_processor,
    )
    return _Runs(first_ns, digest, awake, sampler.sample())


def cool_down(telemetry: Telemetry, clock: Clock, profile: MeasurementProfile) -> None:
    """Wait until the board is cool enough, or is not getting cooler any more.

    Raises:
        JobFailedError: THERMAL_TIMEOUT; still cooling down after the profile's longest wait.
    """
    hottest = telemetry.state().hottest_c
    for _ in range(max(1, round(profile.thermal_wait_s / profile.thermal_poll_s))):
        if hottest is None or hottest <= profile.temperature_start_c:
            return
        clock.sleep(profile.thermal_poll_s)
        now = telemetry.state().hottest_c
        steady = now is not None and abs(now - hottest) / profile.thermal_poll_s < profile.temperature_slope_c_per_s
        if steady and now is not None and now <= profile.temperature_max_c:
            return
        hottest = now
    raise JobFailedError(
        FailureType.THERMAL_TIMEOUT,
        f"still {hottest} C after {profile.thermal_wait_s:.0f} s; measuring starts at {profile.temperature_start_c} C",
    )


def _canary_gate(request: MeasureRequest, setup: MeasuringSetup) -> CanaryReading | None:
    """The canary before the job; one more try after a pause and, on a warm board, cooling down."""
    canary = request.canary
    if canary is None:
        return None
    settings = _canary_settings(request, canary)
    reading = run_canary(setup.runtime, canary, settings, setup.lock, request.profile)
    if canary_complaint(canary, reading, request.profile):
        setup.runtime.clock.sleep(request.profile.backoff_s)
        cool_down(setup.telemetry, setup.runtime.clock, request.profile)
        reading = run_canary(setup.runtime, canary, settings, setup.lock, request.profile)
    complaint = canary_complaint(canary, reading, request.profile)
    if complaint:
        raise JobFailedError(FailureType.DEVICE_DEGRADED, complaint, reading)
    return reading


def _canary_after(request: MeasureRequest, setup: MeasuringSetup, before: CanaryReading | None) -> CanaryReading | None:
    canary = request.canary
    if canary is None or before is None:
        return None
    return run_canary(setup.runtime, canary, _canary_settings(request, canary), setup.lock, request.profile)


def _answer_flags(before: CanaryReading | None, after: CanaryReading | None) -> tuple[ValidityFlag, ...]:
    if before is None or after is None or before.output_digest == after.output_digest:
        return ()
    return (ValidityFlag(Validity.DEGRADED_DEVICE, "the canary's outputs changed during the measurement"),)


def _canary_settings(request: MeasureRequest, canary: Canary) -> SessionSettings:
    return replace(request.settings, format=canary.format, batch=1, input_seed=0)
