"""Phases and failures as messages of hilnas.v1: what a measuring process answers and what is spooled and sent to the
server have one form. What was measured is `hilnas.wire`'s part.
"""

from __future__ import annotations

from collections.abc import Mapping

from device_agent.failures import JobFailedError
from device_agent.measuring.procedure import Phase
from hilnas.v1 import control_pb2
from hilnas.wire import canary_from_proto, canary_to_proto
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.text import MAX_REASON_CHARACTERS, one_line

PHASES: Mapping[int, Phase] = {control_pb2.Phase.Value(f"PHASE_{p.name}"): p for p in Phase}


def failure_to_proto(error: JobFailedError) -> control_pb2.Failure:
    """Write a typed failure with the canary that was off, where that is why."""
    return control_pb2.Failure(
        type=f"ERROR_TYPE_{error.type.name}",
        message=one_line(error.message, MAX_REASON_CHARACTERS),
        canary=None if error.canary is None else canary_to_proto(error.canary),
    )


def failure_from_proto(failure: control_pb2.Failure) -> JobFailedError:
    """Read what `failure_to_proto` wrote; a type this version does not know is a fault of the agent's own."""
    name = control_pb2.ErrorType.Name(failure.type) if failure.type in control_pb2.ErrorType.values() else ""
    type = FailureType.__members__.get(name.removeprefix("ERROR_TYPE_"), FailureType.AGENT_FAULT)
    canary = canary_from_proto(failure.canary) if failure.HasField("canary") else None
    return JobFailedError(type, failure.message, canary)
