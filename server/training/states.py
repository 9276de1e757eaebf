"""States of supernets."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class SupernetState(Enum):
    """Life of a supernet."""

    QUEUED = "queued"
    TRAINING = "training"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not SUPERNET_TRANSITIONS[self]


SUPERNET_TRANSITIONS: Mapping[SupernetState, frozenset[SupernetState]] = {
    SupernetState.QUEUED: frozenset(
        {SupernetState.TRAINING, SupernetState.READY, SupernetState.FAILED, SupernetState.CANCELLED}
    ),
    SupernetState.TRAINING: frozenset({SupernetState.READY, SupernetState.FAILED, SupernetState.CANCELLED}),
    SupernetState.READY: frozenset(),
    SupernetState.FAILED: frozenset(),
    SupernetState.CANCELLED: frozenset(),
}
