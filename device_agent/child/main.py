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
from pathlib import Path
from typing import BinaryIO

from device_agent.child.messages import read_frame, request_from_proto, write_frame
from device_agent.failures import JobFailedError, RuntimeUnavailableError
from device_agent.measuring.classify import ClassifyRequest
from device_agent.measuring.device import MeasuringDevice, MeasuringSettings
from device_agent.measuring.messages import failure_to_proto
from device_agent.measuring.procedure import Phase
from hilnas.v1.measuring_process_pb2 import ProcessEvent, ProcessRequest
from hilnas.wire import classification_to_proto, measurement_to_proto
from nas_engine.domain.host.host_lock import HostBusyError, HostLock
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Measurement

_PREPARE_WAIT_S = 5.0


def main() -> int:
    """Serve one job. Arguments: the settings as JSON, the descriptors to read from and to write to."""
    settings = MeasuringSettings.from_json(sys.argv[1])
    with os.fdopen(int(sys.argv[2]), "rb") as requests, os.fdopen(int(sys.argv[3]), "wb") as answers:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the agent's to handle
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            device = _load_engine(settings)
        except RuntimeUnavailableError as error:
            write_frame(answers, ProcessEvent(unavailable=str(error)))
            return 1
        write_frame(answers, ProcessEvent(ready=True))
        request = read_frame(requests, ProcessRequest)
        if request is None:
            return 0
        threading.Thread(target=_end_with_agent, args=(requests,), daemon=True).start()
        if settings.model_memory_bytes > 0:
            # The process may grow by so much and no more: a model that wants the whole board fails alone.
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + settings.model_memory_bytes
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        write_frame(answers, _answer(device, request, answers))
        os._exit(0)  # engines may hang in their destructors; everything is sent


def _load_engine(settings: MeasuringSettings) -> MeasuringDevice:
    """Load the engine while nobody on the host times; if somebody times for long, load it anyway."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(HostBusyError):
            held.enter_context(HostLock(settings.lock_path).working(_PREPARE_WAIT_S))
        return MeasuringDevice(settings)


def _answer(device: MeasuringDevice, message: ProcessRequest, answers: BinaryIO) -> ProcessEvent:
    """Do the job; phases are sent while it runs, whatever ends it is the answer."""

    def on_phase(phase: Phase) -> None:
        write_frame(answers, ProcessEvent(phase=f"PHASE_{phase.name}"))

    def on_timed(measured: Measurement) -> None:
        write_frame(answers, ProcessEvent(timed=measurement_to_proto(measured)))

    try:
        request = request_from_proto(message)
        if isinstance(request, ClassifyRequest):
            return ProcessEvent(classification=classification_to_proto(device.classify(request, on_phase)))
        return ProcessEvent(measurement=measurement_to_proto(device.measure(request, on_phase, on_timed)))
    except JobFailedError as error:
        failure = error
    except MemoryError:
        failure = JobFailedError(FailureType.OUT_OF_MEMORY, "the measuring process ran out of memory")
    except Exception as error:  # whatever it is: a process that is left without an answer is waited for in vain
        failure = JobFailedError(FailureType.AGENT_FAULT, f"{type(error).__name__}: {error}")
    return ProcessEvent(failure=failure_to_proto(failure))


def _end_with_agent(requests: BinaryIO) -> None:
    requests.read(1)  # returns when the agent closes its end or dies
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
