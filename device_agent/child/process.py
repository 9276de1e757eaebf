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
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

import device_agent
from device_agent.child.messages import (
    Message,
    classification_from_json,
    classify_request_to_json,
    failure_from_json,
    measurement_from_json,
    read_frame,
    request_to_json,
    write_frame,
)
from device_agent.failures import FailureType, JobFailedError, RuntimeUnavailableError
from device_agent.measuring.classify import ClassifyRequest, run_classification
from device_agent.measuring.procedure import MeasureRequest, OnPhase, Phase, run_measurement
from device_agent.measuring.setup import BenchSettings, DeviceBench
from device_agent.stop import StopToken
from nas_engine.domain.classification import Classification
from nas_engine.domain.measurement import InvalidMeasurementError, Measurement

_log = logging.getLogger(__name__)
A = TypeVar("A")
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
        """End everything that was started."""


class InProcessMeasurer:
    """Measures in the caller's thread: for simulated runtimes, which can neither crash nor hang an agent."""

    def __init__(self, settings: BenchSettings) -> None:
        self._device = DeviceBench(settings)

    def prepare(self) -> None:
        """Nothing to do."""

    def measure(
        self,
        request: MeasureRequest,
        token: StopToken,
        on_phase: OnPhase,
        timeout_s: float,
    ) -> Measurement:
        """See Measurer; the token is looked at between phases."""
        bench, settings = self._device.for_job(request.settings)
        return run_measurement(replace(request, settings=settings), bench, _stoppable(token, on_phase))

    def classify(
        self,
        request: ClassifyRequest,
        token: StopToken,
        on_phase: OnPhase,
        timeout_s: float,
    ) -> Classification:
        """See Measurer; the token is looked at between turns."""
        bench, settings = self._device.for_job(request.settings)
        return run_classification(replace(request, settings=settings), bench, _stoppable(token, on_phase))

    def close(self) -> None:
        """Nothing to do."""


class ChildMeasurer:
    """Measures in standby children, one per request.

    Args:
        settings: of the bench.
        command: how to start a child, before its arguments; tests give another program.
    """

    def __init__(self, settings: BenchSettings, command: tuple[str, ...] = ()) -> None:
        self._settings = settings
        self._command = command or (sys.executable, "-m", "device_agent.child.main")
        self._standby: _Child | None = None

    def prepare(self) -> None:
        """Start the next child, unless one is waiting."""
        if self._standby is None or not self._standby.alive:
            self._discard_standby()
            self._standby = _Child(self._command, self._settings)

    def measure(self, request: MeasureRequest, token: StopToken, on_phase: OnPhase, timeout_s: float) -> Measurement:
        """See Measurer."""
        return self._ask(
            _Question(request_to_json(request), "measurement", measurement_from_json), token, on_phase, timeout_s
        )

    def classify(
        self, request: ClassifyRequest, token: StopToken, on_phase: OnPhase, timeout_s: float
    ) -> Classification:
        """See Measurer."""
        question = _Question(classify_request_to_json(request), "classification", classification_from_json)
        return self._ask(question, token, on_phase, timeout_s)

    def _ask(self, question: _Question[A], token: StopToken, on_phase: OnPhase, timeout_s: float) -> A:
        deadline = time.monotonic() + timeout_s
        self.prepare()
        child, self._standby = self._standby, None
        assert child is not None
        try:
            with token.interrupting(child.interrupt):
                return _converse(child, question, token, on_phase, deadline)
        finally:
            child.end()

    def close(self) -> None:
        """End the waiting child."""
        self._discard_standby()

    def _discard_standby(self) -> None:
        if self._standby is not None:
            self._standby.end()
            self._standby = None


@dataclass(frozen=True, slots=True)
class _Question(Generic[A]):
    """What a child is asked: the message, the member of its answer, and how that is read."""

    message: Message
    member: str
    read: Callable[[Message], A]


def _stoppable(token: StopToken, on_phase: OnPhase) -> OnPhase:
    def report(phase: Phase) -> None:
        on_phase(phase)
        token.check()

    return report


def _converse(child: _Child, question: _Question[A], token: StopToken, on_phase: OnPhase, deadline: float) -> A:
    """Wait for the child to be ready, hand it the request, follow it to its answer."""
    start_deadline = time.monotonic() + START_TIMEOUT_S
    sent = False
    while True:  # ends at the deadline, or when the child answers or dies
        event = child.next_event(deadline if sent else max(deadline, start_deadline))
        token.check()
        match event:
            case {"event": "ready"}:
                child.send(question.message)
                sent = True
            case {"event": "phase", "phase": str() as phase}:
                on_phase(Phase(phase))
            case {"event": "done"} if isinstance(answer := event.get(question.member), dict):
                try:
                    return question.read(answer)
                except (InvalidMeasurementError, ValueError, KeyError, TypeError) as error:
                    raise JobFailedError(
                        FailureType.AGENT_FAULT, f"the child's answer is malformed: {error}"
                    ) from error
            case {"event": "failed", "failure": dict() as failure}:
                raise failure_from_json(failure)
            case {"event": "unavailable", "message": str() as message}:
                raise RuntimeUnavailableError(message)
            case {"event": "timeout"}:
                raise JobFailedError(FailureType.RUNTIME_TIMEOUT, "the measuring process did not answer in time")
            case {"event": "ended"}:
                raise child.autopsy()
            case other:
                raise JobFailedError(FailureType.AGENT_FAULT, f"the child said {str(other)[:200]}")


class _Child:
    """One measuring process and the thread that listens to it."""

    def __init__(self, command: tuple[str, ...], settings: BenchSettings) -> None:
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._folder = tempfile.TemporaryDirectory(prefix="hilnas-measure-")
        self._stderr_path = Path(self._folder.name) / "stderr"
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
                    cwd=self._folder.name,
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

    def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # it died: the listener tells
            write_frame(self._requests, message)

    def next_event(self, deadline: float) -> dict[str, Any]:
        """What the child says next; `timeout` at the deadline, `ended` when it is gone, `stop` when interrupted."""
        try:
            return self._events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return {"event": "timeout"}

    def interrupt(self) -> None:
        """Wake whoever waits in `next_event`."""
        self._events.put({"event": "stop"})

    def autopsy(self) -> JobFailedError:
        """Why it died, as far as can be told."""
        code = self._process.wait(TERM_GRACE_S)
        tail = self._stderr_path.read_bytes()[-_STDERR_TAIL_BYTES:].decode(errors="replace").strip()
        last = tail.splitlines()[-1] if tail else "it said nothing"
        if code == -signal.SIGKILL:
            return JobFailedError(FailureType.OUT_OF_MEMORY, f"the measuring process was killed from outside: {last}")
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return JobFailedError(FailureType.RUNTIME_CRASHED, f"the measuring process ended with {how}: {last}")

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
        self._folder.cleanup()

    def _listen(self, answers: BinaryIO) -> None:
        with answers:
            try:
                while (message := read_frame(answers)) is not None:
                    self._events.put(message)
            except ValueError as error:
                _log.error("measuring process sent a broken frame: %s", error)
        self._events.put({"event": "ended"})


def _environment() -> dict[str, str]:
    """Little: no credentials of the agent reach the process that runs models."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    package_root = str(Path(device_agent.__file__ or ".").resolve().parent.parent)
    return kept | {"PYTHONPATH": package_root, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
