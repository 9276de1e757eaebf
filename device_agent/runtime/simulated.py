"""A session whose runs take virtual time: shared by the runtimes that compute latencies instead of timing them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from device_agent.runtime.base import Clock, Output, VirtualClock


class SimulatedSession:
    """Advances its clock by a nominal duration and a repeatable relative noise.

    Args:
        clock: a VirtualClock is advanced; on any other clock a run sleeps.
        duration_ns: nominal time of one run.
        noise: standard deviation of the relative noise; 0 for none.
        rng: of the noise.
        output: what every run gives.
        npu_share: share of the duration that the accelerator claims; None when it does not tell.
    """

    def __init__(
        self,
        clock: Clock,
        duration_ns: int,
        *,
        noise: float,
        rng: np.random.Generator,
        output: Output,
        npu_share: float | None,
    ) -> None:
        self._clock = clock
        self._duration_ns = duration_ns
        self._noise = noise
        self._rng = rng
        self._output = output
        self._npu_share = npu_share
        self._last_ns = 0

    def run(self) -> None:
        """Let the run's time pass; noise is cut at three standard deviations, so that time stays positive."""
        factor = 1.0 + self._noise * float(np.clip(self._rng.standard_normal(), -3.0, 3.0)) if self._noise else 1.0
        self._last_ns = max(1, round(self._duration_ns * factor))
        if isinstance(self._clock, VirtualClock):
            self._clock.advance_ns(self._last_ns)
        else:
            self._clock.sleep(self._last_ns / 1e9)

    def last_npu_ns(self) -> int | None:
        """Return the share of the last run that the accelerator claims, nanoseconds."""
        return None if self._npu_share is None else round(self._last_ns * self._npu_share)

    def outputs(self) -> Sequence[Output]:
        return [np.array(self._output)]

    def close(self) -> None:
        """Do nothing: a simulated model holds no memory of an engine."""
