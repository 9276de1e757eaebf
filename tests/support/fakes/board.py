"""A board by hand: sessions with a scripted duration, a clock that moves only with them, readings that tests set."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from device_agent.failures import JobFailedError
from device_agent.measuring.setup import MeasuringSetup
from device_agent.measuring.telemetry import BoardState, Usage
from device_agent.runtime.base import Classifier, Loaded, Output, RuntimeFacts, SessionSettings, VirtualClock
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import (
    ClockReading,
    DeviceClass,
    DeviceIdentity,
    Dtype,
    EnvironmentRecord,
    MeasurementProfile,
)

STANDARD = MeasurementProfile.named("standard")
PINNED = ClockReading(name="npu", governor="userspace", requested_khz=1_000_000, effective_khz=1_000_000)
SLOW_CLOCK = replace(PINNED, effective_khz=200_000)
COOL = BoardState(clocks=(PINNED,), temperatures_c=(("npu-thermal", 45.0),))

Durations = Callable[[int], int]
"""Run number from 0 -> nanoseconds."""


class ScriptedSession:
    """Runs that take what the script says."""

    def __init__(
        self, clock: VirtualClock, durations: Durations, *, npu_ns: int | None = None, output: float = 1.0
    ) -> None:
        self._clock = clock
        self._durations = durations
        self._npu_ns = npu_ns
        self._output = output
        self.num_runs = 0
        self.closed = False

    def run(self) -> None:
        self._clock.advance_ns(self._durations(self.num_runs))
        self.num_runs += 1

    def last_npu_ns(self) -> int | None:
        return self._npu_ns

    def outputs(self) -> Sequence[Output]:
        return [np.array([self._output, 2.0])]

    def close(self) -> None:
        self.closed = True


class ScriptedRuntime:
    """Loads a scripted session per path; by default every model runs 1 ms."""

    def __init__(self, *, device_class: DeviceClass = DeviceClass.BOARD, uses_processor: bool = False) -> None:
        self.clock = VirtualClock()
        self.durations: dict[str, Durations] = {}
        self.outputs: dict[str, list[float]] = {}
        self.npu_ns: int | None = None
        self.loads: list[str] = []
        self.sessions: list[ScriptedSession] = []
        self._device_class = device_class
        self._uses_processor = uses_processor

    @property
    def facts(self) -> RuntimeFacts:
        return RuntimeFacts(
            name="scripted",
            device_class=self._device_class,
            versions=(("scripted", "1"),),
            dtypes=(Dtype.FP32,),
            model_formats=("onnx",),
            core_masks=("0x1",),
            uses_processor=self._uses_processor,
            has_npu_time=self.npu_ns is not None,
        )

    def load(self, path: Path, settings: SessionSettings) -> Loaded:
        self.loads.append(path.name)
        outputs = self.outputs.get(path.name, [])
        output = outputs.pop(0) if outputs else 1.0
        durations = self.durations.get(path.name, lambda _: 1_000_000)
        session = ScriptedSession(self.clock, durations, npu_ns=self.npu_ns, output=output)
        self.sessions.append(session)
        return Loaded(session, 10_000, 20_000)

    def load_classifier(self, path: Path, settings: SessionSettings) -> Classifier:
        raise JobFailedError(FailureType.UNSUPPORTED, f"a scripted board classifies nothing with {path.name}")


class ScriptedTelemetry:
    """Gives the states in order, the last one for ever; usage from a callable."""

    def __init__(self, *states: BoardState, usage: Callable[[int], Usage] = lambda _: Usage(None, None)) -> None:
        self._states = list(states) or [BoardState()]
        self._usage = usage
        self.num_usages = 0
        self.num_states = 0

    def usage(self) -> Usage:
        self.num_usages += 1
        return self._usage(self.num_usages - 1)

    def state(self) -> BoardState:
        self.num_states += 1
        return self._states[min(self.num_states - 1, len(self._states) - 1)]


class CountingLock:
    """Counts how often it was taken."""

    def __init__(self) -> None:
        self.num_taken = 0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        self.num_taken += 1
        yield


def setup_of(
    runtime: ScriptedRuntime, telemetry: ScriptedTelemetry, lock: CountingLock | None = None
) -> MeasuringSetup:
    """A measuring setup around them."""
    return MeasuringSetup(
        runtime=runtime,
        telemetry=telemetry,
        lock=lock or CountingLock(),
        identity=DeviceIdentity(
            board_model="scripted board",
            device_class=runtime.facts.device_class,
            runtime="scripted",
            runtime_versions=(("scripted", "1"),),
            clocks_profile="pinned-max",
            core_mask="0x1",
        ),
        environment=EnvironmentRecord(agent_version="test", protocol_version=1),
    )
