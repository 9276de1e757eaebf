"""What servers, workers and device agents say of a leased job: why it failed, and what its holder is to do.

The wire's enums ErrorType and LeaseOrder have the same names; a test holds them together.
"""

from __future__ import annotations

from enum import Enum


class FailureType(Enum):
    """Why a job failed. Retry and blame follow from the type on the server alone (server/jobs/failures.py).

    Troubles of the device (thermal, degraded, busy) and of the model (rejected, crashed) are kept apart, so that
    neither is quarantined for the other's fault. Values are only added, never removed or renamed.
    """

    # Reported by device agents; the wire's ErrorType has these.
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
    # Reported by workers.
    CONVERT_FAILED = "convert_failed"
    CONVERTER_CRASH = "converter_crash"
    WORKER_ERROR = "worker_error"
    INVALID_INPUT = "invalid_input"
    # Found by the server.
    INVALID_RESULT = "invalid_result"
    NO_DEVICE = "no_device"


class LeaseOrder(Enum):
    """What the holder of a lease is told at a renewal. The wire's LeaseOrder has the same names."""

    CONTINUE = "continue"
    CANCEL = "cancel"  # stop at once: a user cancelled the job
    LOST = "lost"  # stop at once: the lease died
    DRAIN = "drain"  # go on with this one, take no more
