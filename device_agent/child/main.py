"""The measuring process: loads the engine, waits for one job, does it, answers, ends.

It is started ahead of its job, so that a job does not pay for imports. It ends by itself when its agent is gone. It
never sees the network.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from device_agent.child.messages import (
    classification_to_json,
    classify_request_from_json,
    failure_to_json,
    measurement_to_json,
    read_frame,
    request_from_json,
    write_frame,
)
from device_agent.failures import FailureType, JobFailedError, RuntimeUnavailableError
from device_agent.measuring.classify import run_classification
from device_agent.measuring.procedure import Phase, run_measurement
from device_agent.measuring.setup import BenchSettings, DeviceBench
from nas_engine.domain.host_lock import HostBusyError, HostLock
from nas_engine.domain.measurement import InvalidMeasurementError

_PREPARE_WAIT_S = 5.0


def main() -> int:
    """Serve one job. Arguments: the settings as JSON, the descriptors to read from and to write to."""
    settings = BenchSettings.from_json(sys.argv[1])
    with os.fdopen(int(sys.argv[2]), "rb") as requests, os.fdopen(int(sys.argv[3]), "wb") as answers:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the agent's to handle
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            bench = _prepare(settings)
        except RuntimeUnavailableError as error:
            write_frame(answers, {"event": "unavailable", "message": str(error)})
            return 1
        write_frame(answers, {"event": "ready"})
        message = read_frame(requests)
        if message is None:
            return 0
        threading.Thread(target=_end_with_agent, args=(requests,), daemon=True).start()
        _limit_memory(settings.model_memory_bytes)
        _serve(bench, message, answers)
        answers.flush()
        os._exit(0)  # engines may hang in their destructors; everything is sent


def _prepare(settings: BenchSettings) -> DeviceBench:
    """Load the engine while nobody on the host times; if somebody times for long, load it anyway."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(HostBusyError):
            held.enter_context(HostLock(settings.lock_path).working(_PREPARE_WAIT_S))
        return DeviceBench(settings)


def _limit_memory(model_bytes: int) -> None:
    """Let the process grow by so much and no more: a model that wants the whole board fails alone (setrlimit)."""
    if model_bytes > 0:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + model_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _serve(device: DeviceBench, message: dict[str, object], answers: BinaryIO) -> None:
    def on_phase(phase: Phase) -> None:
        write_frame(answers, {"event": "phase", "phase": phase.value})

    try:
        classify = classify_request_from_json(message)
        if classify is not None:
            bench, settings = device.for_job(classify.settings)
            answers_given = run_classification(replace(classify, settings=settings), bench, on_phase)
            write_frame(answers, {"event": "done", "classification": classification_to_json(answers_given)})
            return
        request = request_from_json(message)
        bench, settings = device.for_job(request.settings)
        measurement = run_measurement(replace(request, settings=settings), bench, on_phase)
        write_frame(answers, {"event": "done", "measurement": measurement_to_json(measurement)})
    except JobFailedError as error:
        write_frame(answers, {"event": "failed", "failure": failure_to_json(error)})
    except MemoryError:
        out_of_memory = JobFailedError(FailureType.OUT_OF_MEMORY, "the measuring process ran out of memory")
        write_frame(answers, {"event": "failed", "failure": failure_to_json(out_of_memory)})
    except (InvalidMeasurementError, OSError, ValueError, RuntimeError) as error:
        fault = JobFailedError(FailureType.AGENT_FAULT, f"{type(error).__name__}: {error}")
        write_frame(answers, {"event": "failed", "failure": failure_to_json(fault)})


def _end_with_agent(requests: BinaryIO) -> None:
    requests.read(1)  # returns when the agent closes its end or dies
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
