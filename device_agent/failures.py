"""The agent's one error tree.

AgentError
  JobFailedError       a job ended without a measurement; its type says why
  JobStoppedError      a job was stopped: cancelled, lease lost, shut down
  RuntimeUnavailableError   the runtime cannot be used on this machine
  EnrolmentError       no credential, and none can be had
  TlsError             server and agent do not come to a secure connection, and waiting does not change it
  ProtocolMismatchError  server and agent share no protocol version
"""

from __future__ import annotations

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import CanaryReading


class AgentError(Exception):
    """Base of every error the agent raises on purpose."""


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
        """Put the cause on one line of at most 500 characters, as it is logged and sent."""
        return " ".join(str(self).split())[:500]


class JobStoppedError(AgentError):
    """A job was stopped; `type` is CANCELLED, LEASE_LOST or AGENT_SHUTDOWN."""

    def __init__(self, type: FailureType, message: str) -> None:
        super().__init__(message)
        self.type = type


class RuntimeUnavailableError(AgentError):
    """The runtime cannot be used on this machine; the message says what is missing and how to get it."""


class EnrolmentError(AgentError):
    """The agent has no credential and cannot get one."""


class TlsError(AgentError):
    """No secure connection with this server, for a reason that waiting does not change; the message says what to do."""


class ProtocolMismatchError(AgentError):
    """Server and agent share no protocol version: one of them must be upgraded."""
