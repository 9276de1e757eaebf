"""The agent's view of its own device: degraded when its canary is off, well again when a probe says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from device_agent.jobs import CanaryOrder, JobRunner, LeasedJob, LeaseKey, MeasureOrder, Outcome
from device_agent.server_link.backoff import Backoff
from device_agent.server_link.session import Health
from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import Dtype, Measurement, MeasurementProfile, Validity

_log = logging.getLogger(__name__)
PROBE_MINIMUM_S, PROBE_MAXIMUM_S = 20.0, 600.0
PROBE_TIMEOUT_S = 120.0


class HealthMonitor:
    """Watches canaries. While degraded the agent takes no jobs and tries its canary by itself, with back-off.

    Args:
        runner: runs the probe as it runs jobs.
        now: monotonic seconds; tests give their own.
    """

    def __init__(self, runner: JobRunner, now: Callable[[], float] = time.monotonic) -> None:
        self._runner = runner
        self._now = now
        self._backoff = Backoff(minimum_s=PROBE_MINIMUM_S, maximum_s=PROBE_MAXIMUM_S)
        self._canary: CanaryOrder | None = None
        self._probe_at: float | None = None
        self.state = Health()

    def note(self, job: LeasedJob, outcome: Outcome) -> None:
        """Take a finished job's canary readings into account."""
        if isinstance(job.order, MeasureOrder) and job.order.canary is not None:
            self._canary = job.order.canary
        measurement = outcome.measurement
        if outcome.failure is FailureType.DEVICE_DEGRADED:
            self._degrade(outcome.message)
        elif measurement is not None and measurement.canary_after is not None:
            self.state = Health(canary_ratio=measurement.canary_after.ratio)
            if off := _off(measurement):  # it was well before the job and is not after it
                self._degrade(off)

    def _degrade(self, reason: str) -> None:
        self.state = Health(degraded=True, reason=reason)
        self._probe_at = self._now() + self._backoff.next_s()

    def probe_if_due(self) -> None:
        """Try the canary again when its time has come; a pass ends the degraded state."""
        if not self.state.degraded or self._canary is None or self._probe_at is None or self._now() < self._probe_at:
            return
        outcome = self._runner.run(_probe(self._canary))
        off = outcome.message if outcome.measurement is None else _off(outcome.measurement)
        if outcome.measurement is None or off:
            _log.warning("still degraded: %s", off)
            self._probe_at = self._now() + self._backoff.next_s()
            return
        _log.info("the canary is well again")
        before = outcome.measurement.canary_before
        self.state = Health(canary_ratio=before.ratio if before else None)
        self._backoff = Backoff(minimum_s=PROBE_MINIMUM_S, maximum_s=PROBE_MAXIMUM_S)
        self._probe_at = None


def _off(measurement: Measurement) -> str:
    """Join what the canaries say against the device; empty where they agree."""
    return "; ".join(flag.reason for flag in measurement.flags if flag.validity is Validity.DEGRADED_DEVICE)


def _probe(canary: CanaryOrder) -> LeasedJob:
    """Build a job of the agent's own: the golden model, with itself as its canary."""
    order = MeasureOrder(
        model=canary.model,
        profile=MeasurementProfile.named("quick"),
        dtype=Dtype.FP32,
        batch=1,
        num_threads=0,
        core_mask="",
        input_seed=0,
        input_ranges={},
        canary=canary,
        cpu_operators=(),
    )
    return LeasedJob(lease=LeaseKey("probe", 0, "probe", 0), order=order, ttl_s=0.0, timeout_s=PROBE_TIMEOUT_S)
