"""Measuring in a process of its own: a standby child per job, with a time limit, and killed when it must be.

Children are started with exec (subprocess), never forked, because gRPC has threads. A crash of the engine ends the
child and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import device_agent
from device_agent.child.messages import read_frame, request_to_proto, write_frame
from device_agent.failures import JobFailedError, RuntimeUnavailableError
from device_agent.measuring.classify import ClassifyRequest
from device_agent.measuring.device import MeasuringDevice, MeasuringSettings
from device_agent.measuring.messages import PHASES, failure_from_proto
from device_agent.measuring.procedure import MeasureRequest, OnPhase, Phase, without_layers
from device_agent.runtime.select import brought_runtime
from device_agent.stop import StopToken
from hilnas.v1.measuring_process_pb2 import ProcessEvent, ProcessRequest
from hilnas.wire import classification_from_proto, known, measurement_from_proto
from nas_engine.domain.host.scratch import scratch_folder
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import InvalidMeasurementError, Measurement
from nas_engine.domain.measuring.classification import Classification

_log = logging.getLogger(__name__)
TERM_GRACE_S = 3.0
START_TIMEOUT_S = 60.0
_STDERR_TAIL_BYTES = 2000
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "HOME", "LANG", "OMP_NUM_THREADS", "container")


class Measurer(Protocol):
    """Measures, or classifies, one request at a time."""

    def prepare(self) -> None:
        """Get ready for the next request, as far as that can be done ahead."""

    def measure(self, request: MeasureRequest, token: StopToken, on_phase: OnPhase, timeout_s: float) -> Measurement:
        """Measure.

        Raises:
            JobFailedError: there is no measurement; the type says why.
            JobStoppedError: the token was set.
        """

    def classify(
        self, request: ClassifyRequest, token: StopToken, on_phase: OnPhase, timeout_s: float
    ) -> Classification:
        """Classify an image set. Raises as `measure`."""

    def close(self) -> None:
        """End every process that was started."""


class InProcessMeasurer:
    """Measures in the caller's thread: for simulated runtimes, which can neither crash nor hang an agent.

    The token of a job is looked at between phases.
    """

    def __init__(self, settings: MeasuringSettings) -> None:
        self._device = MeasuringDevice(settings)

    def prepare(self) -> None:
        return

    def measure(self, request: MeasureRequest, token: StopToken, on_phase: OnPhase, timeout_s: float) -> Measurement:
        return self._device.measure(request, _stoppable(token, on_phase))

    def classify(
        self, request: ClassifyRequest, token: StopToken, on_phase: OnPhase, timeout_s: float
    ) -> Classification:
        return self._device.classify(request, _stoppable(token, on_phase))

    def close(self) -> None:
        return


def _stoppable(token: StopToken, on_phase: OnPhase) -> OnPhase:
    def report(phase: Phase) -> None:
        on_phase(phase)
        token.check()

    return report


class ChildMeasurer:
    """Measures in standby children, one per request.

    Args:
        settings: of the measuring device.
        command: how to start a child, before its arguments; tests give another program.
    """

    def __init__(self, settings: MeasuringSettings, command: tuple[str, ...] = ()) -> None:
        self._settings = settings
        self._command = command or (sys.executable, "-m", "device_agent.child.main")
        self._standby: _Child | None = None

    def prepare(self) -> None:
        """Start the next child, unless one is waiting."""
        if self._standby is None or not self._standby.alive:
            self.close()
            self._standby = _Child(self._command, self._settings)

    def measure(self, request: MeasureRequest, token: StopToken, on_phase: OnPhase, timeout_s: float) -> Measurement:
        """Have a child measure; it is killed at the time limit or when the token is set."""
        timed: list[Measurement] = []

        def keep(event: ProcessEvent) -> None:
            with _malformed_as_failure():
                timed.append(measurement_from_proto(event.timed))

        try:
            answer = self._ask(request_to_proto(request), "measurement", token, on_phase, timeout_s, keep)
        except JobFailedError as error:
            if not timed:
                raise
            return without_layers(timed[-1], f"{error.type.value}: {error}")  # what failed is the profiler
        with _malformed_as_failure():
            return measurement_from_proto(answer.measurement)

    def classify(
        self, request: ClassifyRequest, token: StopToken, on_phase: OnPhase, timeout_s: float
    ) -> Classification:
        """Have a child classify; it is killed at the time limit or when the token is set."""
        answer = self._ask(request_to_proto(request), "classification", token, on_phase, timeout_s)
        with _malformed_as_failure():
            return classification_from_proto(answer.classification)

    def close(self) -> None:
        """End the waiting child."""
        if self._standby is not None:
            self._standby.end()
            self._standby = None

    def _ran(self) -> str:
        """What of a package it ran, for people: that may be at fault as well as the model."""
        brought = brought_runtime(self._settings.runtime)
        return f" that ran {brought}" if brought else ""

    def _ask(
        self,
        request: ProcessRequest,
        answer: Literal["measurement", "classification"],
        token: StopToken,
        on_phase: OnPhase,
        timeout_s: float,
        on_timed: Callable[[ProcessEvent], None] = lambda _: None,
    ) -> ProcessEvent:
        """Hand a child the request and follow it to its answer, the event that holds the member `answer`."""
        deadline = time.monotonic() + timeout_s
        start_deadline = time.monotonic() + START_TIMEOUT_S
        self.prepare()
        child, self._standby = self._standby, None
        assert child is not None
        try:
            with token.interrupting(child.interrupt):
                sent = False
                while True:  # ends at the deadline, or when the child answers or dies
                    event = child.next_event(deadline if sent else max(deadline, start_deadline))
                    token.check()
                    if event is _NoEvent.TIMEOUT:
                        message = f"the measuring process{self._ran()} did not answer in time"
                        raise JobFailedError(FailureType.RUNTIME_TIMEOUT, message)
                    if isinstance(event, _NoEvent):
                        raise child.autopsy(self._ran())
                    match event.WhichOneof("event"):
                        case "ready":
                            child.send(request)
                            sent = True
                        case "phase":
                            with _malformed_as_failure():
                                phase = known(PHASES, event.phase, "phase")
                            on_phase(phase)
                        case "timed":
                            on_timed(event)
                        case "failure":
                            with _malformed_as_failure():
                                failure = failure_from_proto(event.failure)
                            raise failure
                        case "unavailable":
                            raise RuntimeUnavailableError(event.unavailable)
                        case member if member == answer:
                            return event
                        case member:
                            raise JobFailedError(
                                FailureType.AGENT_FAULT, f"the child sent {member or 'nothing'}, not a {answer}"
                            )
        finally:
            child.end()


@contextlib.contextmanager
def _malformed_as_failure() -> Iterator[None]:
    try:
        yield
    except (InvalidMeasurementError, ValueError, KeyError, TypeError) as error:
        raise JobFailedError(FailureType.AGENT_FAULT, f"the child's answer is malformed: {error}") from error


class _NoEvent(Enum):
    """Why there is nothing from a child: it took too long, it ended, or somebody wants its job to stop."""

    TIMEOUT = "timeout"
    ENDED = "ended"
    INTERRUPTED = "interrupted"


class _Child:
    """One measuring process and the thread that listens to it."""

    def __init__(self, command: tuple[str, ...], settings: MeasuringSettings) -> None:
        self._events: queue.SimpleQueue[ProcessEvent | _NoEvent] = queue.SimpleQueue()
        self._stack = contextlib.ExitStack()
        folder = self._stack.enter_context(scratch_folder("hilnas-measure-"))
        self._stderr_path = folder / "stderr"
        request_read, request_write = os.pipe()
        answer_read, answer_write = os.pipe()
        try:
            with self._stderr_path.open("wb") as stderr:
                self._process = subprocess.Popen(
                    [*command, settings.to_json(), str(request_read), str(answer_write)],
                    pass_fds=(request_read, answer_write),
                    stdin=subprocess.DEVNULL,
                    stdout=stderr,  # engines print to descriptor 1
                    stderr=stderr,
                    cwd=folder,
                    env=_environment(),
                    start_new_session=True,
                )
        finally:
            os.close(request_read)
            os.close(answer_write)
        self._requests: BinaryIO = os.fdopen(request_write, "wb")
        self._killed = False
        threading.Thread(target=self._listen, args=(os.fdopen(answer_read, "rb"),), daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: ProcessRequest) -> None:
        with contextlib.suppress(BrokenPipeError):  # it died: the listener tells
            write_frame(self._requests, message)

    def next_event(self, deadline: float) -> ProcessEvent | _NoEvent:
        """Wait until the deadline (monotonic seconds) for what the child says next."""
        try:
            return self._events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return _NoEvent.TIMEOUT

    def interrupt(self) -> None:
        """Wake whoever waits in `next_event`."""
        self._events.put(_NoEvent.INTERRUPTED)

    def autopsy(self, ran: str = "") -> JobFailedError:
        """Why it died, as far as can be told; `ran` says what it ran."""
        code = self._process.wait(TERM_GRACE_S)
        tail = self._stderr_path.read_bytes()[-_STDERR_TAIL_BYTES:].decode(errors="replace").strip()
        last = tail.splitlines()[-1] if tail else "it said nothing"
        if code == -signal.SIGKILL:
            return JobFailedError(
                FailureType.OUT_OF_MEMORY, f"the measuring process{ran} was killed from outside: {last}"
            )
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return JobFailedError(FailureType.RUNTIME_CRASHED, f"the measuring process{ran} ended with {how}: {last}")

    def end(self) -> None:
        """Ask it to end, then make it: SIGTERM, three seconds, SIGKILL. Always leaves no process."""
        with contextlib.suppress(OSError):
            self._requests.close()
        for ask in (self._process.terminate, self._process.kill):
            if self.alive:
                ask()
            try:
                self._process.wait(TERM_GRACE_S)
                break
            except subprocess.TimeoutExpired:
                _log.warning("measuring process %d does not end: killing it", self._process.pid)
        self._stack.close()

    def _listen(self, answers: BinaryIO) -> None:
        with answers:
            try:
                while (message := read_frame(answers, ProcessEvent)) is not None:
                    self._events.put(message)
            except ValueError as error:
                _log.error("measuring process sent a broken frame: %s", error)
        self._events.put(_NoEvent.ENDED)


def _environment() -> dict[str, str]:
    """Little: no credentials of the agent reach the process that runs models."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    package_root = str(Path(device_agent.__file__ or ".").resolve().parent.parent)
    return kept | {"PYTHONPATH": package_root, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
