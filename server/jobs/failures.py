"""Typed failures of jobs, and what each one means for the job, the device and the architecture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.text import one_line


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """What follows from a failure.

    Attributes:
        retryable: the job is queued again while attempts are left.
        penalise_device: counts towards the device's quarantine.
        penalise_model: counts against the architecture: enough of them make its candidates INFEASIBLE.
        counts_attempt: False does not count the attempt: neither the job nor the device is at fault.
    """

    retryable: bool
    penalise_device: bool = False
    penalise_model: bool = False
    counts_attempt: bool = True


_POLICIES = {
    # Deterministic refusals of the model: trying again gives the same answer.
    FailureType.CONVERT_FAILED: FailurePolicy(retryable=False, penalise_model=True),
    FailureType.MODEL_REJECTED: FailurePolicy(retryable=False, penalise_model=True),
    FailureType.INVALID_INPUT: FailurePolicy(retryable=False),
    FailureType.UNSUPPORTED: FailurePolicy(retryable=False),
    # Model or machine: tried again, elsewhere if possible; the poison cap decides.
    FailureType.CONVERTER_CRASH: FailurePolicy(retryable=True, penalise_model=True),
    FailureType.OUT_OF_MEMORY: FailurePolicy(retryable=True, penalise_model=True),
    FailureType.RUNTIME_CRASHED: FailurePolicy(retryable=True, penalise_model=True),
    FailureType.RUN_FAILED: FailurePolicy(retryable=True, penalise_model=True),
    FailureType.RUNTIME_TIMEOUT: FailurePolicy(retryable=True, penalise_device=True, penalise_model=True),
    FailureType.OUTPUT_MISMATCH: FailurePolicy(retryable=True, penalise_device=True, penalise_model=True),
    # The device's side.
    FailureType.INIT_FAILED: FailurePolicy(retryable=True, penalise_device=True, penalise_model=True),
    FailureType.DEVICE_DEGRADED: FailurePolicy(retryable=True, penalise_device=True),
    FailureType.AGENT_FAULT: FailurePolicy(retryable=True, penalise_device=True),
    FailureType.INVALID_RESULT: FailurePolicy(retryable=True, penalise_device=True),
    FailureType.THERMAL_TIMEOUT: FailurePolicy(retryable=True),
    FailureType.INTERFERED: FailurePolicy(retryable=True),
    FailureType.FETCH_FAILED: FailurePolicy(retryable=True),
    # Nobody's fault, or the infrastructure's.
    FailureType.CANCELLED: FailurePolicy(retryable=False),
    FailureType.LEASE_LOST: FailurePolicy(retryable=True),
    FailureType.AGENT_SHUTDOWN: FailurePolicy(retryable=True, counts_attempt=False),
    FailureType.DEVICE_BUSY: FailurePolicy(retryable=True, counts_attempt=False),
    FailureType.NO_DEVICE: FailurePolicy(retryable=False),
    FailureType.WORKER_ERROR: FailurePolicy(retryable=True),
}


def policy_of(type: FailureType) -> FailurePolicy:
    """What follows from a failure of this type."""
    return _POLICIES[type]


_REMEDIES = {
    FailureType.OUT_OF_MEMORY: "it needs more memory than the device has left for it; what helps is a smaller batch or "
    "input, another device type or, in a search, a constraint on peak_activation_bytes",
}

MAX_MESSAGE_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure, as its holder reports it.

    Attributes:
        type: typed reason.
        message: one line for people: what went wrong.
        blames_brought: what other packages bring is the cause, whatever it is given: holders died over it again and
            again, or this one has another version. It is not tried again, nor is other work with the same packages.
    """

    type: FailureType
    message: str
    blames_brought: bool = False

    def __post_init__(self) -> None:
        # It comes from devices and converters: kept to one storable line, whatever they print.
        object.__setattr__(self, "message", one_line(self.message, MAX_MESSAGE_LENGTH))

    @property
    def with_remedy(self) -> Self:
        """The same, saying also what to do, where that is known."""
        remedy = _REMEDIES.get(self.type)
        if remedy is None or remedy in self.message:
            return self
        return replace(self, message=f"{self.message[: MAX_MESSAGE_LENGTH - len(remedy) - 2]}: {remedy}")


@dataclass(frozen=True, slots=True)
class FinalFailure(Failure):
    """The failure after which a job is not tried again.

    Attributes:
        blames_model: it is the model's own fault: no attempt could end otherwise.
    """

    blames_model: bool = False


MAX_FAILURES_ELSEWHERE = 2
"""A model that is blamed by failures on this many different devices is at fault itself."""

MAX_MODEL_FAILURES = 3
"""Number of failures in total after which a model is at fault itself: it would kill a child for ever."""

MAX_DEVICE_FAILURES = 3
"""A device that is blamed by this many different jobs in a row is quarantined."""

EXCLUDE_AFTER_FAILURES = 2
"""An agent on which one job failed this often is not given it again, if another device can take it."""

MAX_DEATHS_WITH_PLUGINS = 3
"""Number of holders in a row that may die over work of one kind that runs what other packages bring: each death costs
everything else in that process an attempt, so these jobs get fewer than others.
"""

MAX_BACKOFF_S = 60.0
BASE_BACKOFF_S = 1.0


def backoff_s(attempt: int) -> float:
    """Wait before the next attempt: 1 s, doubled per attempt, at most 60 s. Jitter comes from the callers' polling."""
    return float(min(BASE_BACKOFF_S * 2 ** max(attempt - 1, 0), MAX_BACKOFF_S))
