"""Supernets: training ordered, followed, cancelled; versions published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.base import SpaceSpec
from nas_engine.settings.training import FairSettings, RetrainSettings, TrainingSpec
from server.access.principal import NOBODY, Creator
from server.artifacts.store import ArtifactStore
from server.candidates.lifecycle import advance, set_search_state
from server.candidates.search_store import SearchStore
from server.candidates.states import DesiredState, SearchState
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import InvalidSpecError, NotFoundError, SpecViolation
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest
from server.core.transitions import check_transition
from server.jobs.completion import cancel_job, complete_job
from server.jobs.job import LeaseRef, NewJob
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.spaces.descriptions import SpaceDescription
from server.training.deployables import RetrainedModel, order_retrained
from server.training.lifecycle import end_supernet
from server.training.store import SupernetStore
from server.training.supernet import (
    SUPERNET_TRANSITIONS,
    Supernet,
    SupernetQuery,
    SupernetState,
    SupernetVersion,
    TrainingProgress,
    TrainPayload,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """Weights to publish; the artifact is stored already.

    Attributes:
        statistics: losses and the like, for people; finite numbers.
        search_id, parent_id: see SupernetVersion.
    """

    weights_sha256: str
    statistics: JsonValue = None
    search_id: str | None = None
    parent_id: str | None = None


class Supernets:
    """Use cases of supernets."""

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

    def violations(self, spec: TrainingSpec, pointer: str = "") -> tuple[SpecViolation, ...]:
        """Everything that is wrong with a training spec; `pointer` is put in front of each place."""
        found: list[SpecViolation] = []
        num_classes: int | None = None
        try:
            space = self._spaces.describe(spec.space.id, spec.space.parameters)
            num_classes = space.num_classes
            found += self._misfits(spec, space, pointer)
        except EngineError as error:
            found.append(SpecViolation(f"{pointer}/space", str(error)))
        dataset = self._datasets.describe(spec.dataset)
        if dataset is None:
            found.append(SpecViolation(f"{pointer}/dataset", self._datasets.absence(spec.dataset)))
        elif num_classes is not None and dataset.num_classes != num_classes:
            found.append(
                SpecViolation(
                    f"{pointer}/space/parameters",
                    f"the space has {num_classes} classes, data set {dataset.name!r} has {dataset.num_classes}: "
                    f"set num_classes to {dataset.num_classes}",
                )
            )
        return tuple(found)

    def _misfits(self, spec: TrainingSpec, space: SpaceDescription, pointer: str) -> Sequence[SpecViolation]:
        """Why a strategy cannot train a space."""
        if not space.has_graphs:
            message = f"space {space.id!r} is a table of results: it has no networks that could be trained"
            return [SpecViolation(f"{pointer}/space/id", message)]
        match spec.strategy:
            case FairSettings():
                numbers = sorted({len(gene.options) for gene in space.genes} - {1})
                if len(numbers) == 1:
                    return ()
                message = f"strict fairness needs layers with one number of choices, {space.id!r} has {numbers}"
                return [SpecViolation(f"{pointer}/strategy", f"{message}: use uniform or sandwich")]
            case RetrainSettings() as wanted:
                return self._retraining_misfits(spec.space, wanted, f"{pointer}/strategy")
            case _:
                return ()

    def _retraining_misfits(self, spec: SpaceSpec, wanted: RetrainSettings, pointer: str) -> Sequence[SpecViolation]:
        """Why an architecture cannot be retrained."""
        found: list[SpecViolation] = []
        if wanted.architecture is None:
            message = "which architecture? Give a published name, a genotype, or the space's own form"
            found.append(SpecViolation(f"{pointer}/architecture", message))
        else:
            try:
                self._spaces.record(spec.id, spec.parameters, wanted.architecture)
            except EngineError as error:
                found.append(SpecViolation(f"{pointer}/architecture", str(error)))
        if wanted.inherit_from is not None:
            try:
                self.get_supernet_version(wanted.inherit_from)
            except NotFoundError as error:
                found.append(SpecViolation(f"{pointer}/inherit_from", str(error)))
        return found

    def create_supernet(self, spec: TrainingSpec, creator: Creator = NOBODY) -> Supernet:
        """Queue the training of a supernet.

        Raises:
            InvalidSpecError: it cannot be trained; every reason is given.
        """
        found = self.violations(spec)
        if found:
            raise InvalidSpecError(found)
        return self._uow.write(lambda tx: self.order(tx, spec, creator))

    def order(self, tx: Transaction, spec: TrainingSpec, creator: Creator) -> Supernet:
        """As `create`, inside the caller's transaction and without the checks."""
        supernet = Supernet(
            id=new_id(IdPrefix.SUPERNET),
            spec=spec,
            state=SupernetState.QUEUED,
            created_by=creator.token_id,
            owner=creator.owner,
            created_at=tx.now(),
        )
        SupernetStore(tx).add_supernet(supernet)
        JobStore(tx).add_job(
            NewJob(
                kind=JobKind.TRAIN,
                payload=TrainPayload(supernet_id=supernet.id).to_json(),
                dedupe_key=f"train:{supernet.id}",
                max_attempts=self._settings.max_evaluation_attempts,
                supernet_id=supernet.id,
                owner=supernet.owner,
            )
        )
        EventStore(tx).append_event(_state_event(supernet))
        tx.wake(Topic.WORKER_JOBS)
        return supernet

    def register(self, spec: TrainingSpec, version: NewVersion, creator: Creator = NOBODY) -> Supernet:
        """Take in a supernet that was trained elsewhere: READY at once.

        Raises:
            InvalidSpecError: the spec names an unknown space or data set.
            NotFoundError: the weights are no artifact.
        """
        found = self.violations(spec)
        if found:
            raise InvalidSpecError(found)

        def work(tx: Transaction) -> Supernet:
            supernet = Supernet(
                id=new_id(IdPrefix.SUPERNET),
                spec=spec,
                state=SupernetState.QUEUED,
                created_by=creator.token_id,
                owner=creator.owner,
                created_at=tx.now(),
            )
            SupernetStore(tx).add_supernet(supernet)
            return self._publish(tx, supernet, version)[0]

        return self._uow.write(work)

    def get_supernet(self, supernet_id: str) -> Supernet:
        """Read a supernet by its id. Raises NotFoundError."""
        return self._uow.read(lambda tx: SupernetStore(tx).get_supernet(supernet_id))

    def page_of_supernets(self, query: SupernetQuery, page: PageRequest) -> Page[Supernet]:
        """List the supernets that a query selects, newest first."""
        return self._uow.read(lambda tx: SupernetStore(tx).page_of_supernets(query, page))

    def count_supernets(self, query: SupernetQuery) -> int:
        """Count what `page_of_supernets` would list in all."""
        return self._uow.read(lambda tx: SupernetStore(tx).count_supernets(query))

    def versions_of_supernet(self, supernet_id: str) -> tuple[SupernetVersion, ...]:
        """Every version, oldest first. Raises NotFoundError."""

        def look(tx: Transaction) -> tuple[SupernetVersion, ...]:
            SupernetStore(tx).get_supernet(supernet_id)
            return SupernetStore(tx).versions_of_supernet(supernet_id)

        return self._uow.read(look)

    def get_supernet_version(self, version_id: str) -> SupernetVersion:
        """Read a version by its id. Raises NotFoundError."""
        return self._uow.read(lambda tx: SupernetStore(tx).get_supernet_version(version_id))

    def cancel(self, supernet_id: str) -> Supernet:
        """Stop a training; searches that wait for it fail.

        Raises:
            InvalidStateTransitionError: it is over already.
        """

        def work(tx: Transaction) -> Supernet:
            supernet = SupernetStore(tx).lock_supernet(supernet_id)
            SupernetStore(tx).save_supernet(replace(supernet, desired_state=DesiredState.CANCELLED))
            end_supernet(tx, supernet_id, SupernetState.CANCELLED, "cancelled by a user")
            return SupernetStore(tx).get_supernet(supernet_id)

        return self._uow.write(work)

    def start_training(self, lease: LeaseRef) -> Supernet:
        """What the worker of a TRAIN job starts from: spec and last resumable checkpoint.

        Raises:
            LeaseLostError: the lease is not current; take other work.
        """

        def work(tx: Transaction) -> Supernet:
            supernet = SupernetStore(tx).lock_supernet(self._supernet_id(tx, lease))
            JobStore(tx).lock_job_of_lease(lease)
            check_transition("supernet", supernet.id, SUPERNET_TRANSITIONS, supernet.state, SupernetState.TRAINING)
            if supernet.state is SupernetState.TRAINING:
                return supernet
            supernet = SupernetStore(tx).save_supernet(replace(supernet, state=SupernetState.TRAINING))
            EventStore(tx).append_event(_state_event(supernet))
            return supernet

        return self._uow.write(work)

    def record_progress(self, lease: LeaseRef, progress: TrainingProgress) -> None:
        """Show how far a training is. Raises LeaseLostError."""

        def work(tx: Transaction) -> None:
            supernet = SupernetStore(tx).lock_supernet(self._supernet_id(tx, lease))
            JobStore(tx).lock_job_of_lease(lease)
            SupernetStore(tx).save_supernet(replace(supernet, progress=progress))
            payload: Mapping[str, JsonValue] = {
                "step": progress.step,
                "num_steps": progress.num_steps,
                "loss": progress.loss,
                "metrics": dict(progress.metrics),
            }
            EventStore(tx).append_event(NewEvent(type=EventType.TRAINING, payload=payload, supernet_id=supernet.id))

        self._uow.write(work)

    def save_checkpoint(self, lease: LeaseRef, artifact_sha256: str, step: int) -> None:
        """Remember a resumable checkpoint (stored as an artifact). Raises LeaseLostError, NotFoundError."""

        def work(tx: Transaction) -> None:
            ArtifactStore(tx).get_artifact(artifact_sha256)
            supernet = SupernetStore(tx).lock_supernet(self._supernet_id(tx, lease))
            JobStore(tx).lock_job_of_lease(lease)
            SupernetStore(tx).save_supernet(replace(supernet, resume_artifact_sha256=artifact_sha256, resume_step=step))

        self._uow.write(work)

    def finish_training(
        self, lease: LeaseRef, version: NewVersion, model: RetrainedModel | None = None
    ) -> SupernetVersion | None:
        """Publish the trained weights, end the TRAIN job, and start the searches that wait for them.

        Args:
            lease: of the job.
            version: the weights.
            model: of a retraining; it is converted where its spec asks for more than ONNX.

        Returns:
            What is published; None where the training was cancelled meanwhile.

        Raises:
            LeaseLostError: somebody else trains it by now; nothing is written.
            NotFoundError: the weights are no artifact.
        """

        def work(tx: Transaction) -> SupernetVersion | None:
            supernet = SupernetStore(tx).lock_supernet(self._supernet_id(tx, lease))
            job = JobStore(tx).lock_job_of_lease(lease)
            if supernet.state is SupernetState.CANCELLED:
                cancel_job(tx, job)
                return None
            _, published = self._publish(tx, supernet, version)
            complete_job(tx, job, {"supernet_version_id": published.id})
            if model is not None:
                order_retrained(tx, supernet, published, model, self._settings.max_evaluation_attempts)
            return published

        return self._uow.write(work)

    def add_version(self, supernet_id: str, version: NewVersion) -> SupernetVersion:
        """Publish further weights of a READY supernet (shifted by a search). Raises NotFoundError."""
        return self._uow.write(lambda tx: self._publish(tx, SupernetStore(tx).lock_supernet(supernet_id), version)[1])

    def _publish(self, tx: Transaction, supernet: Supernet, new: NewVersion) -> tuple[Supernet, SupernetVersion]:
        ArtifactStore(tx).get_artifact(new.weights_sha256)
        version = SupernetVersion(
            id=new_id(IdPrefix.SUPERNET_VERSION),
            supernet_id=supernet.id,
            number=len(SupernetStore(tx).versions_of_supernet(supernet.id)) + 1,
            weights_sha256=new.weights_sha256,
            statistics=new.statistics,
            search_id=new.search_id,
            parent_id=new.parent_id,
            created_at=tx.now(),
        )
        SupernetStore(tx).add_supernet_version(version)
        check_transition("supernet", supernet.id, SUPERNET_TRANSITIONS, supernet.state, SupernetState.READY)
        ready = SupernetStore(tx).save_supernet(
            replace(
                supernet,
                state=SupernetState.READY,
                latest_version_id=version.id,
                finished_at=supernet.finished_at or tx.now(),
            )
        )
        EventStore(tx).append_event(_state_event(ready))
        self._start_waiting(tx, ready, version)
        return ready, version

    def _start_waiting(self, tx: Transaction, supernet: Supernet, version: SupernetVersion) -> None:
        for waiting in SearchStore(tx).searches_waiting_for_supernet(supernet.id):
            if waiting.supernet_version_id is not None:
                continue
            search = SearchStore(tx).save_search(
                replace(SearchStore(tx).lock_search(waiting.id), supernet_version_id=version.id)
            )
            if search.state is SearchState.QUEUED:
                advance(tx, set_search_state(tx, search, SearchState.RUNNING), self._settings)

    @staticmethod
    def _supernet_id(tx: Transaction, lease: LeaseRef) -> str:
        return read_payload(TrainPayload, JobStore(tx).get_job(lease.job_id).payload).supernet_id


def _state_event(supernet: Supernet) -> NewEvent:
    payload: Mapping[str, JsonValue] = {"state": supernet.state.value, "reason": supernet.reason}
    return NewEvent(type=EventType.SUPERNET, payload=payload, supernet_id=supernet.id)
