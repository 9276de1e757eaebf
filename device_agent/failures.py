"""The agent's one error tree, and the typed failures of jobs.

AgentError
  JobFailedError       a job ended without a measurement; its type says why
  JobStoppedError      a job was told to stop: cancelled, lease lost, shut down
  RuntimeUnavailableError   the runtime cannot be used on this machine
  EnrolmentError       no credential, and none can be had
  ProtocolMismatchError  server and agent share no protocol version
"""

from __future__ import annotations

from enum import Enum

from nas_engine.domain.measurement import CanaryReading


class AgentError(Exception):
    """Base of every error the agent raises on purpose."""


class FailureType(Enum):
    """Why a job gave no measurement. Retry and blame are decided by the server from the type.

    Device-side troubles (thermal, degraded, busy) and model-side ones (rejected, crashed) are kept apart, so that
    neither is quarantined for the other's fault.
    """

    MODEL_REJECTED = "model_rejected"
    OUT_OF_MEMORY = "out_of_memory"
    INIT_FAILED = "init_failed"
    RUN_FAILED = "run_failed"
    RUNTIME_TIMEOUT = "runtime_timeout"
    RUNTIME_CRASHED = "runtime_crashed"
    OUTPUT_MISMATCH = "output_mismatch"
    THERMAL_TIMEOUT = "thermal_timeout"
    INTERFERED = "interfered"
    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    AGENT_SHUTDOWN = "agent_shutdown"
    FETCH_FAILED = "fetch_failed"
    DEVICE_DEGRADED = "device_degraded"
    UNSUPPORTED = "unsupported"
    DEVICE_BUSY = "device_busy"
    AGENT_FAULT = "agent_fault"


class JobFailedError(AgentError):
    """A job ended without a measurement.

    Attributes:
        type: why.
        canary: the reading of the golden model that was off, where that is why.
    """

    def __init__(self, type: FailureType, message: str, canary: CanaryReading | None = None) -> None:
        super().__init__(message)
        self.type = type
        self.canary = canary

    @property
    def message(self) -> str:
        """One line: the cause."""
        return " ".join(str(self).split())[:500]


class JobStoppedError(AgentError):
    """A job was told to stop; `type` is CANCELLED, LEASE_LOST or AGENT_SHUTDOWN."""

    def __init__(self, type: FailureType, message: str) -> None:
        super().__init__(message)
        self.type = type


class RuntimeUnavailableError(AgentError):
    """The runtime cannot be used on this machine; the message says what is missing and how to get it."""


class EnrolmentError(AgentError):
    """The agent has no credential and cannot get one."""


class ProtocolMismatchError(AgentError):
    """Server and agent share no protocol version: one of them must be upgraded."""
