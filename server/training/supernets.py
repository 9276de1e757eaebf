"""Supernets: training ordered, followed, cancelled; versions published."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.training import TrainingSpec
from server.access.principal import NOBODY, Creator
from server.artifacts.store import ArtifactStore
from server.candidates.lifecycle import advance, set_search_state
from server.candidates.search_store import SearchStore
from server.candidates.states import SearchState
from server.core.database.transaction import Transaction
from server.core.errors import InvalidSpecError, SpecViolation
from server.core.ids import IdPrefix, new_id
from server.core.transitions import check_transition
from server.jobs.completion import cancel_job, complete_job
from server.jobs.job import LeaseRef
from server.jobs.queue import JobStore
from server.training.lifecycle import end_supernet
from server.training.store import SupernetStore
from server.training.supernet import Supernet, SupernetVersion
from server.training.training import TRAINING_TRANSITIONS, TrainingState
from server.training.trainings import Trainings


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


class Supernets(Trainings[Supernet]):
    """Use cases of supernets."""

    store = SupernetStore

    def violations(self, spec: TrainingSpec, pointer: str = "") -> tuple[SpecViolation, ...]:
        """Everything that is wrong with a training spec; `pointer` is put in front of each place."""
        space, found = self._misplaced(spec, pointer)
        if space is None or not spec.strategy.EQUAL_CHOICES:
            return tuple(found)
        numbers = sorted({len(gene.options) for gene in space.genes} - {1})
        if len(numbers) == 1:
            return tuple(found)
        message = f"strict fairness needs layers with one number of choices, {space.id!r} has {numbers}"
        return (SpecViolation(f"{pointer}/strategy", f"{message}: use uniform or sandwich"), *found)

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
        """As `create_supernet`, inside the caller's transaction and without the checks."""
        return self._queue(tx, _new(tx, spec, creator), spec)

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
            supernet = _new(tx, spec, creator)
            SupernetStore(tx).add_training(supernet)
            return self._publish(tx, supernet, version)[0]

        return self._uow.write(work)

    def versions_of_supernet(self, supernet_id: str) -> tuple[SupernetVersion, ...]:
        """Every version, oldest first. Raises NotFoundError."""

        def look(tx: Transaction) -> tuple[SupernetVersion, ...]:
            SupernetStore(tx).get_training(supernet_id)
            return SupernetStore(tx).versions_of_supernet(supernet_id)

        return self._uow.read(look)

    def get_supernet_version(self, version_id: str) -> SupernetVersion:
        """Read a version by its id. Raises NotFoundError."""
        return self._uow.read(lambda tx: SupernetStore(tx).get_supernet_version(version_id))

    def finish_training(self, lease: LeaseRef, version: NewVersion) -> SupernetVersion | None:
        """Publish the trained weights, end the TRAIN job, and start the searches that wait for them.

        Args:
            lease: of the job.
            version: the weights.

        Returns:
            What is published; None where the training was cancelled meanwhile.

        Raises:
            LeaseLostError: somebody else trains it by now; nothing is written.
            NotFoundError: the weights are no artifact.
        """

        def work(tx: Transaction) -> SupernetVersion | None:
            supernet = self._lock_leased(tx, lease)
            job = JobStore(tx).get_job(lease.job_id)
            if supernet.state is TrainingState.CANCELLED:
                cancel_job(tx, job)
                return None
            _, published = self._publish(tx, supernet, version)
            complete_job(tx, job, {"supernet_version_id": published.id})
            return published

        return self._uow.write(work)

    def add_version(self, supernet_id: str, version: NewVersion) -> SupernetVersion:
        """Publish further weights of a READY supernet (shifted by a search). Raises NotFoundError."""
        return self._uow.write(lambda tx: self._publish(tx, SupernetStore(tx).lock_training(supernet_id), version)[1])

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
        check_transition("supernet", supernet.id, TRAINING_TRANSITIONS, supernet.state, TrainingState.READY)
        ready = self._save(
            tx,
            replace(
                supernet,
                state=TrainingState.READY,
                latest_version_id=version.id,
                finished_at=supernet.finished_at or tx.now(),
            ),
        )
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

    def _end(self, tx: Transaction, id: str, state: TrainingState, reason: str) -> None:
        end_supernet(tx, id, state, reason)


def _new(tx: Transaction, spec: TrainingSpec, creator: Creator) -> Supernet:
    return Supernet(
        id=new_id(IdPrefix.SUPERNET),
        spec=spec,
        state=TrainingState.QUEUED,
        created_by=creator.token_id,
        owner=creator.owner,
        created_at=tx.now(),
    )
