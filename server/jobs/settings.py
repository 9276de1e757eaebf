"""Durations and limits of the service, in one place; a composition root may change them."""

from __future__ import annotations

from dataclasses import dataclass

from server.core.errors import InvalidValueError


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """How leases live.

    Attributes:
        ttl_s: an accepted lease dies after so long without renewal.
        accept_s: an agent must renew a fresh lease within this, or its job is queued again, the attempt not counted.
        max_wait_s: longest long-poll.
        device_timeout_s: a device not heard of for longer counts as offline.
        sweep_batch: expired leases handled per sweep.
    """

    ttl_s: float = 60.0
    accept_s: float = 15.0
    max_wait_s: float = 30.0
    device_timeout_s: float = 60.0
    sweep_batch: int = 100

    def __post_init__(self) -> None:
        if not (self.ttl_s > 0 and self.accept_s > 0 and self.max_wait_s >= 0 and self.device_timeout_s > 0):
            raise InvalidValueError(f"lease settings {self} hold a duration that is not above 0")

    @property
    def renew_every_s(self) -> float:
        """Pause between renewals: a third of the lease, so that two may be lost."""
        return min(self.ttl_s, self.accept_s) / 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Limits of searches.

    Attributes:
        keep_checkpoints: the newest that are kept per search.
        step_priority: added to a search's priority for its steps: they are short, and boards wait for them.
        max_step_attempts: tries of one step before the search fails.
        max_evaluation_attempts: tries of one accuracy evaluation, conversion or training before it fails.
    """

    keep_checkpoints: int = 5
    step_priority: int = 1000
    max_step_attempts: int = 10
    max_evaluation_attempts: int = 5
