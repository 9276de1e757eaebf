"""What a training job is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum

from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.base import SpaceSpec
from nas_engine.settings.training import TrainingSpec
from server.access.principal import Principal
from server.candidates.states import DesiredState
from server.core.errors import InvalidValueError
from server.jobs.payloads import Payload


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
class Supernet:
    """One weight-sharing network.

    Attributes:
        id: ``sup_...``.
        spec: how it is trained.
        latest_version_id: newest published weights; None before there are any.
        resume_artifact_sha256, resume_step: last resumable checkpoint of the training.
        version: grows with every change (not the version of its weights).
    """

    id: str
    spec: TrainingSpec
    state: SupernetState
    desired_state: DesiredState = DesiredState.RUNNING
    reason: str = ""
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    latest_version_id: str | None = None
    resume_artifact_sha256: str | None = None
    resume_step: int = 0
    created_by: str | None = None
    owner: Principal | None = None
    created_at: datetime
    finished_at: datetime | None = None
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetVersion:
    """Weights of a supernet at one moment; evaluations name the version they were taken with.

    Attributes:
        id: ``supv_...``.
        number: 1 for the first of its supernet.
        weights_sha256: safetensors artifact.
        statistics: training loss and the like, for people.
        search_id: the search that shifted it; None for a training's result.
        parent_id: the version it was made from.
    """

    id: str
    supernet_id: str
    number: int
    weights_sha256: str
    statistics: JsonValue = None
    search_id: str | None = None
    parent_id: str | None = None
    created_at: datetime


def training_spec_of(version: SupernetVersion, spec: TrainingSpec) -> TrainingSpec:
    """The supernet's spec with the space of a version's weights: a search may have given them another classifier."""
    match version.statistics:
        case {"space": {"id": str(space_id), "parameters": Mapping() as parameters}} if version.search_id is not None:
            return spec.model_copy(update={"space": SpaceSpec(id=space_id, parameters=dict(parameters))})
        case _:
            return spec


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetQuery:
    """Which supernets to list; None and () do not filter. Newest first."""

    states: tuple[SupernetState, ...] = ()
    space_id: str | None = None
    dataset: str | None = None
    owner: str | None = None


class TrainPayload(Payload):
    """Train a supernet; its spec and its last resumable checkpoint are in its row."""

    supernet_id: str
