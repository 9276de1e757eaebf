"""What the use cases of supernets and of networks have in common: trainings ordered, followed, done by a worker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.training import NetworkSpec, TrainingSpec
from server.artifacts.store import ArtifactStore
from server.candidates.states import DesiredState
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import SpecViolation
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.paging import Page, PageRequest
from server.core.transitions import check_transition
from server.jobs.job import LeaseRef, NewJob
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.spent.spent import TimeSpent, elapsed_s
from server.jobs.spent.store import TimeStore
from server.jobs.states import JobKind
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.spaces.descriptions import SpaceDescription
from server.training.brought import plugins_of
from server.training.curves.point import LearningCurve, TrainingPoint, thinned
from server.training.curves.store import CurveStore
from server.training.store import TrainingStore
from server.training.training import (
    TRAINING_TRANSITIONS,
    Training,
    TrainingProgress,
    TrainingQuery,
    TrainingState,
    TrainPayload,
)

T = TypeVar("T", bound=Training)


class Trainings(ABC, Generic[T]):
    """Trainings of one kind, and what they make.

    Attributes:
        store: of the rows of that kind.
    """

    store: ClassVar[type[TrainingStore[Any]]]

    def __init__(
        self,
        uow: UnitOfWork,
        spaces: SpaceCatalog,
        datasets: DatasetCatalog,
        settings: SearchSettings | None = None,
    ) -> None:
        self._uow = uow
        self._spaces = spaces
        self._datasets = datasets
        self._settings = settings or SearchSettings()

    @abstractmethod
    def _end(self, tx: Transaction, id: str, state: TrainingState, reason: str) -> None:
        """End one and what waits for it."""

    def find_training(self, id: str) -> T | None:
        """Look one up by its id; None where there is no such one."""
        return self._uow.read(lambda tx: self.store(tx).find_training(id))

    def get_training(self, id: str) -> T:
        """Read one by its id. Raises NotFoundError."""
        return self._uow.read(lambda tx: self._read(tx, id))

    def page_of_trainings(self, query: TrainingQuery, page: PageRequest) -> Page[T]:
        """List those that a query selects, newest first."""
        return self._uow.read(lambda tx: self.store(tx).page_of_trainings(query, page))

    def count_trainings(self, query: TrainingQuery) -> int:
        """Count what `page_of_trainings` would list in all."""
        return self._uow.read(lambda tx: self.store(tx).count_trainings(query))

    def curve(self, id: str, max_points: int) -> LearningCurve:
        """Read the learning curve of one, at most so many points of it. Raises NotFoundError."""

        def look(tx: Transaction) -> LearningCurve:
            self._read(tx, id)
            points = CurveStore(tx).points_of(id)
            return LearningCurve(id, len(points), tuple(thinned(points, max_points)))

        return self._uow.read(look)

    def time_of(self, training: T) -> TimeSpent:
        """How long one takes, and where the time goes."""

        def look(tx: Transaction) -> TimeSpent:
            kinds = TimeStore(tx).of_training(**self.store(tx).reference(training.id))
            return replace(_time_of(tx, training), kinds=kinds)

        return self._uow.read(look)

    def times_of(self, trainings: Sequence[T]) -> list[TimeSpent]:
        """How long each takes."""
        return self._uow.read(lambda tx: [_time_of(tx, training) for training in trainings])

    def cancel(self, id: str) -> T:
        """Stop a training; searches that wait for it fail.

        Raises:
            InvalidStateTransitionError: it is over already.
        """

        def work(tx: Transaction) -> T:
            self.store(tx).save_training(replace(self._lock(tx, id), desired_state=DesiredState.CANCELLED))
            self._end(tx, id, TrainingState.CANCELLED, "cancelled by a user")
            return self._read(tx, id)

        return self._uow.write(work)

    def start_training(self, lease: LeaseRef) -> T:
        """What the worker of a TRAIN job starts from: spec and last resumable checkpoint.

        Raises:
            LeaseLostError: the lease is not current; take other work.
        """

        def work(tx: Transaction) -> T:
            training = self._lock_leased(tx, lease)
            check_transition(self.store.noun, training.id, TRAINING_TRANSITIONS, training.state, TrainingState.TRAINING)
            if training.state is TrainingState.TRAINING:
                return training
            return self._save(tx, replace(training, state=TrainingState.TRAINING))

        return self._uow.write(work)

    def record_progress(self, lease: LeaseRef, progress: TrainingProgress) -> None:
        """Show how far a training is. Raises LeaseLostError."""

        def work(tx: Transaction) -> None:
            training = self._lock_leased(tx, lease)
            self.store(tx).save_training(replace(training, progress=progress))
            payload: Mapping[str, JsonValue] = {
                "step": progress.step,
                "num_steps": progress.num_steps,
                "loss": progress.loss,
                "metrics": dict(progress.metrics),
            }
            of_it = self.store(tx).reference(training.id)
            EventStore(tx).append_event(NewEvent(type=EventType.TRAINING, payload=payload, **of_it))
            CurveStore(tx).add_point(TrainingPoint.of_progress(training.id, progress, tx.now()))

        self._uow.write(work)

    def save_checkpoint(self, lease: LeaseRef, artifact_sha256: str, step: int) -> None:
        """Remember a resumable checkpoint (stored as an artifact). Raises LeaseLostError, NotFoundError."""

        def work(tx: Transaction) -> None:
            ArtifactStore(tx).get_artifact(artifact_sha256)
            training = self._lock_leased(tx, lease)
            kept = replace(training, resume_artifact_sha256=artifact_sha256, resume_step=step)
            self.store(tx).save_training(kept)

        self._uow.write(work)

    def _queue(self, tx: Transaction, training: T, spec: TrainingSpec | NetworkSpec) -> T:
        """Store a new one with the job that trains it, as its spec says."""
        of_it = self.store(tx).reference(training.id)
        brought = plugins_of(self._spaces, self._datasets, spec.space, spec.dataset)
        self.store(tx).add_training(training)
        JobStore(tx).add_job(
            NewJob(
                kind=JobKind.TRAIN,
                payload=TrainPayload(**of_it, plugins=brought).to_json(),
                dedupe_key=f"train:{training.id}",
                max_attempts=self._settings.max_evaluation_attempts,
                owner=training.owner,
                **of_it,
            )
        )
        self._tell(tx, training)
        tx.wake(Topic.WORKER_JOBS)
        return training

    def _read(self, tx: Transaction, id: str) -> T:
        found: T = self.store(tx).get_training(id)
        return found

    def _lock(self, tx: Transaction, id: str) -> T:
        found: T = self.store(tx).lock_training(id)
        return found

    def _lock_leased(self, tx: Transaction, lease: LeaseRef) -> T:
        """What a TRAIN job trains, held with its job. Raises LeaseLostError."""
        payload = read_payload(TrainPayload, JobStore(tx).get_job(lease.job_id).payload)
        training = self._lock(tx, payload.trained_id)
        JobStore(tx).lock_job_of_lease(lease)
        return training

    def _save(self, tx: Transaction, training: T) -> T:
        """Write a locked one in its new state, and tell of it."""
        saved: T = self.store(tx).save_training(training)
        self._tell(tx, saved)
        return saved

    def _tell(self, tx: Transaction, training: T) -> None:
        payload: Mapping[str, JsonValue] = {"state": training.state.value, "reason": training.reason}
        of_it = self.store(tx).reference(training.id)
        EventStore(tx).append_event(NewEvent(type=EventType.SUPERNET, payload=payload, **of_it))

    def _misplaced(
        self, spec: TrainingSpec | NetworkSpec, pointer: str = ""
    ) -> tuple[SpaceDescription | None, Sequence[SpecViolation]]:
        """The space of a spec where it can be trained in, and what is wrong with space and data set."""
        found: list[SpecViolation] = []
        space: SpaceDescription | None = None
        try:
            space = self._spaces.describe(spec.space.id, spec.space.parameters)
        except EngineError as error:
            found.append(SpecViolation(f"{pointer}/space", str(error)))
        if space is not None and not space.has_graphs:
            message = f"space {space.id!r} is a table of results: it has no networks that could be trained"
            found.append(SpecViolation(f"{pointer}/space/id", message))
        dataset = self._datasets.describe(spec.dataset)
        if dataset is None:
            found.append(SpecViolation(f"{pointer}/dataset", self._datasets.absence(spec.dataset)))
        elif space is not None and dataset.num_classes != space.num_classes:
            found.append(
                SpecViolation(
                    f"{pointer}/space/parameters",
                    f"the space has {space.num_classes} classes, data set {dataset.name!r} has {dataset.num_classes}: "
                    f"set num_classes to {dataset.num_classes}",
                )
            )
        if dataset is not None and (too_few := dataset.batch_fault(spec.batch_size)) is not None:
            found.append(SpecViolation(f"{pointer}/batch_size", too_few))
        return space if space is not None and space.has_graphs else None, found


def _time_of(tx: Transaction, training: Training) -> TimeSpent:
    """Elapsed and left: what the worker last estimated, less what has passed since."""
    now = tx.now()
    elapsed = elapsed_s(training.created_at, training.finished_at, now)
    eta_s = training.progress.metrics.get("eta_s")
    if training.state is not TrainingState.TRAINING or eta_s is None:
        return TimeSpent(elapsed_s=elapsed)
    last = CurveStore(tx).last_point(training.id)
    since_s = 0.0 if last is None else elapsed_s(last.at, None, now)
    return TimeSpent(elapsed_s=elapsed, left_s=max(eta_s - since_s, 0.0))
