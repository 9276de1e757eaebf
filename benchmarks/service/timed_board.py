"""A board that takes a fixed time for every job, for `dispatch.py` beside it: real protocol, scripted samples.

It is enrolled and judged as a board: canaries are ordered and run, flags are recomputed by the server. The samples are
those that the measurement protocol takes of a scripted model in virtual time, once per model; the board then waits for
its service time and hands them in.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, TextIO

from device_agent.child.process import Measurer
from device_agent.measuring.classify import ClassifyRequest
from device_agent.measuring.device import MeasuringDevice, MeasuringSettings
from device_agent.measuring.procedure import MeasureRequest, OnPhase, Phase, run_measurement
from device_agent.measuring.setup import MeasuringSetup
from device_agent.measuring.telemetry import BoardState, SilentTelemetry
from device_agent.runtime.base import RuntimeFacts
from device_agent.runtime.fake import FakeRuntime
from device_agent.stop import StopToken
from nas_engine.domain.measurement import DeviceClass, Measurement
from nas_engine.domain.measuring.classification import Classification
from nas_engine.domain.measuring.environment import ClockReading
from nas_engine.domain.plugins.declarations import RuntimeDeclaration

NAME = "timed-board"
RUNTIME = RuntimeDeclaration(name=NAME, title="A board of a fixed service time", implementation="timed_board:Timed")


class Timed(FakeRuntime):
    """The fake runtime in virtual time, declared as a board's."""

    @property
    def facts(self) -> RuntimeFacts:
        return replace(super().facts, name=NAME, device_class=DeviceClass.BOARD)


class PinnedTelemetry(SilentTelemetry):
    """The readings of a board whose clock stands where it was pinned."""

    def state(self) -> BoardState:
        return BoardState(clocks=(ClockReading(name="npu", requested_khz=1_000_000, effective_khz=1_000_000),))


@dataclass(frozen=True, slots=True)
class Stay:
    """One job on one board: when its measuring began and ended, seconds of the host's monotonic clock."""

    board: str
    start_s: float
    end_s: float


class StayLog:
    """Raw samples of all boards of a process: a line of JSON for each job."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("w", encoding="ascii")
        self._lock = threading.Lock()

    def add(self, stay: Stay) -> None:
        """Write one down."""
        with self._lock:
            self._file.write(json.dumps([stay.board, stay.start_s, stay.end_s]) + "\n")
            self._file.flush()


def read_stays(path: Path) -> list[Stay]:
    """Read what `StayLog` wrote; a line that is being written is left out."""
    lines = path.read_text(encoding="ascii").split("\n")[:-1] if path.exists() else []
    return [Stay(*json.loads(line)) for line in lines]


class TimedMeasurer(Measurer):
    """Takes `service_s` for each measurement and logs it."""

    _known: ClassVar[dict[tuple[str, str], Measurement]] = {}  # by model and profile, for all boards of a process

    def __init__(self, board: str, settings: MeasuringSettings, service_s: float, log: StayLog) -> None:
        self._board, self._service_s, self._log = board, service_s, log
        self._device = MeasuringDevice(settings)

    def prepare(self) -> None:
        return

    def measure(self, request: MeasureRequest, token: StopToken, on_phase: OnPhase, timeout_s: float) -> Measurement:
        start_s = time.monotonic()
        on_phase(Phase.MEASURING)
        key = (request.model.name, request.profile.name)
        measured = self._known.get(key) if request.canary is None else None
        if measured is None:
            measured = self._run(request)
            if request.canary is None:
                self._known[key] = measured
        token.wait(max(0.0, start_s + self._service_s - time.monotonic()))
        token.check()
        self._log.add(Stay(self._board, start_s, time.monotonic()))
        return measured

    def classify(
        self, request: ClassifyRequest, token: StopToken, on_phase: OnPhase, timeout_s: float
    ) -> Classification:
        raise NotImplementedError("boards of this benchmark are given measuring jobs only")

    def close(self) -> None:
        return

    def _run(self, request: MeasureRequest) -> Measurement:
        """Take the whole protocol's samples in virtual time."""
        device = self._device
        mask = device.runtime.facts.core_masks[0]
        setup = MeasuringSetup(
            runtime=device.runtime,
            telemetry=PinnedTelemetry(),
            lock=nullcontext,
            identity=device.identity(mask),
            environment=device.environment(),
        )
        return run_measurement(replace(request, settings=replace(request.settings, core_mask=mask)), setup, _quietly)


def _quietly(_: Phase) -> None:
    return
