"""Exponential back-off with full jitter (AWS Architecture Blog, 2015): many agents never come back in step."""

from __future__ import annotations

import random

MINIMUM_S = 0.5
MAXIMUM_S = 60.0
HEALTHY_AFTER_S = 60.0  # the count starts anew only after a session has been well for so long
REFUSED_S = 300.0  # pause after an answer that trying again does not change


class Backoff:
    """Pauses between tries.

    Args:
        minimum_s, maximum_s: bounds of the exponential before jitter.
        rng: source of the jitter; None makes one seeded by the system. It is no part of any result.
    """

    def __init__(
        self, *, minimum_s: float = MINIMUM_S, maximum_s: float = MAXIMUM_S, rng: random.Random | None = None
    ) -> None:
        self._minimum_s = minimum_s
        self._maximum_s = maximum_s
        self._rng = rng or random.Random()
        self._num_failures = 0
        self._healthy_since: float | None = None

    def next_s(self) -> float:
        """Seconds to wait after one more failure: between half the minimum and the exponential's current bound."""
        bound = min(self._maximum_s, self._minimum_s * 2.0 ** min(self._num_failures, 30))
        self._num_failures += 1
        self._healthy_since = None
        return self._rng.uniform(min(self._minimum_s, bound) / 2.0, bound)

    def refused_s(self) -> float:
        """Seconds to wait after an answer that will not change by itself: about five minutes."""
        self._healthy_since = None
        return REFUSED_S * self._rng.uniform(0.9, 1.1)

    def succeeded(self, now_s: float) -> None:
        """Note a success; the count of failures is forgotten after a minute without one."""
        if self._healthy_since is None:
            self._healthy_since = now_s
        elif now_s - self._healthy_since >= HEALTHY_AFTER_S:
            self._num_failures = 0

    def jittered(self, seconds: float) -> float:
        """`seconds` shortened at random by up to a fifth, for regular intervals."""
        return seconds * self._rng.uniform(0.8, 1.0)
