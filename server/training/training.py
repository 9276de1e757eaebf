"""What trainings of supernets and of networks have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum

from nas_engine.settings.base import later
from nas_engine.settings.training import NetworkSpec, TrainingSpec
from server.access.principal import Principal
from server.candidates.search import UsedPlugin
from server.candidates.states import DesiredState
from server.core.errors import InvalidValueError
from server.core.finding import found_by
from server.jobs.payloads import Payload


class TrainingState(Enum):
    """Life of a training, and of what it makes."""

    QUEUED = "queued"
    TRAINING = "training"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not TRAINING_TRANSITIONS[self]


TRAINING_TRANSITIONS: Mapping[TrainingState, frozenset[TrainingState]] = {
    TrainingState.QUEUED: frozenset(
        {TrainingState.TRAINING, TrainingState.READY, TrainingState.FAILED, TrainingState.CANCELLED}
    ),
    TrainingState.TRAINING: frozenset({TrainingState.READY, TrainingState.FAILED, TrainingState.CANCELLED}),
    TrainingState.READY: frozenset(),
    TrainingState.FAILED: frozenset(),
    TrainingState.CANCELLED: frozenset(),
}


class DeployableState(StrEnum):
    """Whether a model file can be had."""

    READY = "ready"
    CONVERTING = "converting"  # a job waits for a worker with the converter, or is under way
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """How far a training is.

    Attributes:
        step, num_steps: update steps done, and in all.
        loss: of the last steps; None before the first.
        metrics: whatever else the strategy reports, finite numbers.
    """

    step: int = 0
    num_steps: int = 0
    loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = [*self.metrics.values(), *(() if self.loss is None else (self.loss,))]
        if not all(math.isfinite(number) for number in numbers):
            raise InvalidValueError(f"training progress holds a non-finite number: {numbers}; report a failure instead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is known of a supernet or a network while it is trained, and after.

    Attributes:
        resume_artifact_sha256, resume_step: last resumable checkpoint of the training.
        version: grows with every change (not the version of the weights).
    """

    id: str
    state: TrainingState
    desired_state: DesiredState = DesiredState.RUNNING
    reason: str = ""
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    resume_artifact_sha256: str | None = None
    resume_step: int = 0
    created_by: str | None = None
    owner: Principal | None = None
    created_at: datetime
    finished_at: datetime | None = None
    version: int = 1


def words_of_training(training: Training, spec: TrainingSpec | NetworkSpec, *more: str | None) -> str:
    """What a supernet or network is found by besides its state: name, labels, id, space, data set, owner, and more."""
    owner = None if training.owner is None else training.owner.name
    return found_by(spec.name, training.id, spec.space.id, spec.dataset, owner, *more, labels=spec.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingQuery:
    """Which supernets or networks to list; None and () do not filter. Newest first.

    Attributes:
        labels: all of these.
        words: those in which each of these stands somewhere; see `server.core.finding`.
    """

    states: tuple[TrainingState, ...] = ()
    space_id: str | None = None
    dataset: str | None = None
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()


class TrainPayload(Payload):
    """Train a supernet or a network, whichever is named; its spec and last resumable checkpoint are in its row.

    `plugins` is what of its space and its data set other packages bring, as the server knew it when it was ordered.
    """

    supernet_id: str | None = None
    network_id: str | None = None
    plugins: tuple[UsedPlugin, ...] = later(())

    @property
    def trained_id(self) -> str:
        """The id of what is trained."""
        return self.network_id or self.supernet_id or ""
