"""One converter process and the pool of them: long-lived, replaceable, allowed to crash.

Starting one costs 2 to 3 s (its imports), so a process takes many jobs; some models make the compiler
die of a segmentation fault, so nothing of ours runs in it. It speaks the messages described in
`converter_main`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from nas_engine.domain.errors import ConversionError, ConversionFailure
from nas_engine.domain.json_value import JsonValue

SCRIPT = Path(__file__).with_name("converter_main.py")
MAX_MESSAGE_BYTES = 1 << 20
# Faults of the process itself; SIGKILL and SIGTERM come from outside (out of memory, an operator).
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How converter processes are run.

    Attributes:
        command: starts one, e.g. ``(python, "-I", SCRIPT)``.
        num_processes: converted at once, at most.
        jobs_per_process: a process is replaced after this many.
        start_timeout_s: from start to ready (imports; a cold disk is slow).
        job_timeout_s: one conversion.
    """

    command: tuple[str, ...]
    num_processes: int = 1
    jobs_per_process: int = 50
    start_timeout_s: float = 120.0
    job_timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if self.num_processes < 1 or self.jobs_per_process < 1:
            raise ValueError("a pool needs at least 1 process and 1 job per process")


def converter_command(python: Path) -> tuple[str, ...]:
    """Starts the converter with another environment's Python.

    Isolated mode keeps this package's folder off its path, where `onnx.py` would hide the library.
    """
    return (str(python), "-I", str(SCRIPT))


class ConverterProcess:
    """A running converter; one job at a time. After any error it is of no use and must be closed."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        try:
            self._process = subprocess.Popen(
                settings.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise ConversionError(
                ConversionFailure.CONVERTER_FAULT, f"cannot start the converter {settings.command[0]}: {error.strerror}"
            ) from error
        self.num_jobs = 0
        try:
            ready = self._receive(time.monotonic() + settings.start_timeout_s, "start")
        except ConversionError:
            self.close()
            raise
        self.toolkit_version = str(ready.get("ready"))

    @property
    def is_worn_out(self) -> bool:
        """Whether it has done as many jobs as it may."""
        return self.num_jobs >= self._settings.jobs_per_process

    @property
    def is_alive(self) -> bool:
        """Whether it still runs (an idle one may have been ended from outside)."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, job: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        """Give a job and wait for its answer.

        Raises:
            ConversionError: the process died, was killed, answered garbage or not in time.
        """
        self.num_jobs += 1
        payload = json.dumps(job).encode()
        with suppress(BrokenPipeError):  # it died: reading finds out of what
            _pipe(self._process.stdin).write(struct.pack(">I", len(payload)) + payload)
            _pipe(self._process.stdin).flush()
        answer = self._receive(time.monotonic() + self._settings.job_timeout_s, "convert")
        if answer.get("job") != job["job"]:
            raise _fault(f"the converter answered for job {answer.get('job')!r} instead of {job['job']!r}")
        return answer

    def close(self) -> None:
        """Kill it and whatever it started, and wait for it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                _pipe(stream).close()

    def _receive(self, deadline_s: float, what: str) -> Mapping[str, JsonValue]:
        (length,) = struct.unpack(">I", self._read(4, deadline_s, what))
        if length > MAX_MESSAGE_BYTES:
            raise _fault(f"the converter announced a message of {length} bytes: something else writes to its pipe")
        try:
            message = json.loads(self._read(length, deadline_s, what))
        except ValueError as error:
            raise _fault("the converter's answer is not JSON: something else writes to its pipe") from error
        if not isinstance(message, dict):
            raise _fault("the converter's answer is not an object")
        return message

    def _read(self, size: int, deadline_s: float, what: str) -> bytes:
        descriptor, data = _pipe(self._process.stdout).fileno(), bytearray()
        readable = select.poll()
        readable.register(descriptor, select.POLLIN)
        while len(data) < size:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not readable.poll(1000 * left_s):
                raise ConversionError(
                    ConversionFailure.CONVERTER_TIMEOUT, f"the converter took longer than allowed to {what}"
                )
            chunk = os.read(descriptor, size - len(data))
            if not chunk:
                raise self._death(what)
            data += chunk
        return bytes(data)

    def _death(self, what: str) -> ConversionError:
        """The pipe is closed: say what the process died of."""
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return _fault(f"the converter closed its pipe instead of trying to {what}")
        if code >= 0:
            return _fault(f"the converter exited with code {code} instead of trying to {what}")
        name = signal.Signals(-code).name
        if what == "convert" and -code in _CRASHES:
            return ConversionError(ConversionFailure.CONVERTER_CRASH, f"the converter died of {name} on this model")
        return ConversionError(ConversionFailure.CONVERTER_KILLED, f"the converter was ended by {name}")


class ConverterPool:
    """Hands jobs to processes; starts, recycles and replaces them. Thread-safe."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._slots = threading.BoundedSemaphore(settings.num_processes)
        self._lock = threading.Lock()
        self._idle: list[ConverterProcess] = []
        self._is_closed = False
        self.num_started = 0

    def run(self, job: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        """Run one job on a free process, waiting for one if all are busy.

        Raises:
            ConversionError: the process could not start or did not answer; it has been replaced.
        """
        with self._slots:
            process = self._take()
            is_usable = False
            try:
                answer = process.run(job)
                is_usable = not process.is_worn_out
            finally:
                with self._lock:
                    is_kept = is_usable and not self._is_closed
                    if is_kept:
                        self._idle.append(process)
                if not is_kept:
                    process.close()
            return answer

    def close(self) -> None:
        """Kill all idle processes; busy ones go when their job ends."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self) -> ConverterProcess:
        with self._lock:
            if self._is_closed:
                raise _fault("the converter pool is closed")
            idle = self._idle.pop() if self._idle else None
            if idle is not None and idle.is_alive:
                return idle
            self.num_started += 1
        if idle is not None:
            idle.close()
        return ConverterProcess(self._settings)


def toolkit_version(command: Sequence[str], *, timeout_s: float = 60.0) -> str:
    """Version of the toolkit that a command would convert with, without starting a converter.

    Raises:
        ConversionError: the command cannot be run, or its environment has no toolkit.
    """
    try:
        done = subprocess.run(
            (*command, "--version"), capture_output=True, text=True, timeout=timeout_s, env=_environment(), check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _fault(
            f"no rknn-toolkit2 behind {command[0]}: make its environment with `make rknn` ({error})"
        ) from error
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    """Nothing of our own environment but where programs, home and temporary files are; one thread each."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return {**kept, "OMP_NUM_THREADS": "1"}


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "both pipes are asked for at start"
    return stream


def _fault(message: str) -> ConversionError:
    return ConversionError(ConversionFailure.CONVERTER_FAULT, message)
