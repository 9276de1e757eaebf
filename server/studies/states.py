"""States of ranking studies and of their entries."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class StudyState(Enum):
    """Life of a ranking study."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not STUDY_TRANSITIONS[self]


class StudyEntryState(Enum):
    """What becomes of one architecture of a ranking study."""

    WAITING = "waiting"
    TRAINING = "training"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return self not in (StudyEntryState.WAITING, StudyEntryState.TRAINING)


STUDY_TRANSITIONS: Mapping[StudyState, frozenset[StudyState]] = {
    StudyState.QUEUED: frozenset({StudyState.RUNNING, StudyState.FAILED, StudyState.CANCELLED}),
    StudyState.RUNNING: frozenset({StudyState.COMPLETED, StudyState.FAILED, StudyState.CANCELLED}),
    StudyState.COMPLETED: frozenset(),
    StudyState.FAILED: frozenset(),
    StudyState.CANCELLED: frozenset(),
}
