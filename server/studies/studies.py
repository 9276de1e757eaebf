"""Ranking studies: ordered, followed, cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas_engine.domain.errors import EngineError
from nas_engine.settings.base import SpaceSpec
from server.access.principal import NOBODY, Creator
from server.candidates.states import DesiredState
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import InvalidSpecError, NotFoundError, SpecViolation
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.ids import IdPrefix, has_prefix, new_id
from server.core.paging import Page, PageRequest
from server.jobs.job import NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.spaces.architecture import ArchitectureRecord
from server.spaces.catalog import SpaceCatalog
from server.spaces.datasets import DatasetCatalog
from server.studies.lifecycle import end_study
from server.studies.payloads import RankPayload, job_key
from server.studies.spec import RankingStudySpec
from server.studies.states import StudyEntryState, StudyState
from server.studies.store import StudyStore
from server.studies.study import RankingStudy, StudyEntry, StudyQuery
from server.training.brought import plugins_of
from server.training.store import SupernetStore
from server.training.supernet import Supernet, SupernetVersion, training_spec_of

DRAWS_PER_ARCHITECTURE = 50  # a small space runs out of different architectures: draws are bounded


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is studied: weights, and the space they are of."""

    version: SupernetVersion
    space: SpaceSpec
    dataset: str


class RankingStudies:
    """Use cases of ranking studies."""

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

    def create_study(self, spec: RankingStudySpec, creator: Creator = NOBODY) -> RankingStudy:
        """Queue a study: one job per architecture.

        Raises:
            InvalidSpecError: it cannot be made; every reason is given.
        """
        subject = self._uow.read(lambda tx: self._subject(tx, spec))
        records = self._records(spec, subject)
        return self._uow.write(lambda tx: self._order(tx, spec, subject, records, creator))

    def get_study(self, study_id: str) -> RankingStudy:
        """Read a study by its id. Raises NotFoundError."""
        return self._uow.read(lambda tx: StudyStore(tx).get_study(study_id))

    def study_entries(self, study_id: str) -> tuple[StudyEntry, ...]:
        """Its architectures, by number. Raises NotFoundError."""

        def look(tx: Transaction) -> tuple[StudyEntry, ...]:
            StudyStore(tx).get_study(study_id)
            return StudyStore(tx).study_entries(study_id)

        return self._uow.read(look)

    def page_of_studies(self, query: StudyQuery, page: PageRequest) -> Page[RankingStudy]:
        """List the studies that a query selects, newest first."""
        return self._uow.read(lambda tx: StudyStore(tx).page_of_studies(query, page))

    def count_studies(self, query: StudyQuery) -> int:
        """Count what `page_of_studies` would list in all."""
        return self._uow.read(lambda tx: StudyStore(tx).count_studies(query))

    def cancel(self, study_id: str) -> RankingStudy:
        """Stop a study; what is done stays, and so does its result so far.

        Raises:
            InvalidStateTransitionError: it is over already.
        """

        def work(tx: Transaction) -> RankingStudy:
            study = StudyStore(tx).lock_study(study_id)
            if study.state is StudyState.CANCELLED:
                return study
            study = replace(study, desired_state=DesiredState.CANCELLED)
            return end_study(tx, study, StudyState.CANCELLED, "cancelled by a user")

        return self._uow.write(work)

    def _subject(self, tx: Transaction, spec: RankingStudySpec) -> _Subject:
        """The weights under study, checked against the data set.

        Raises:
            InvalidSpecError: there are none, or they do not fit.
        """
        supernet, version = _version(tx, spec.supernet)
        training = training_spec_of(version, supernet.spec)
        name = spec.dataset or training.dataset
        dataset = self._datasets.describe(name)
        if dataset is None:
            raise _violation("/dataset", self._datasets.absence(name))
        try:
            space = self._spaces.describe(training.space.id, training.space.parameters)
        except EngineError as error:
            raise _violation("/supernet", f"its search space is not known here any more: {error}") from error
        if not space.has_graphs:
            raise _violation("/supernet", f"space {space.id!r} is a table of results: it has no networks to train")
        if dataset.num_classes != space.num_classes:
            message = f"the supernet has {space.num_classes} classes, data set {name!r} has {dataset.num_classes}"
            raise _violation("/dataset", f"{message}: name one with {space.num_classes}")
        if (too_few := dataset.batch_fault(spec.training.batch_size)) is not None:
            raise _violation("/training/batch_size", too_few)
        return _Subject(version, training.space, name)

    def _records(self, spec: RankingStudySpec, subject: _Subject) -> tuple[ArchitectureRecord, ...]:
        """The architectures of a study, each once.

        Raises:
            InvalidSpecError: one is not of the space or is given twice, or the space has too few.
        """
        if spec.num_architectures is not None:
            return self._drawn(subject.space, spec.num_architectures, spec.seed)
        records: list[ArchitectureRecord] = []
        violations: list[SpecViolation] = []
        places: dict[str, int] = {}
        for place, document in enumerate(spec.architectures):
            try:
                record = self._spaces.record(subject.space.id, subject.space.parameters, document)
            except EngineError as error:
                violations.append(SpecViolation(f"/architectures/{place}", str(error)))
                continue
            first = places.setdefault(record.arch_id, place)
            if first != place:
                message = f"the same architecture as number {first + 1}: give each once"
                violations.append(SpecViolation(f"/architectures/{place}", message))
            records.append(record)
        if violations:
            raise InvalidSpecError(violations)
        return tuple(records)

    def _drawn(self, space: SpaceSpec, number: int, seed: int) -> tuple[ArchitectureRecord, ...]:
        genes = self._spaces.describe(space.id, space.parameters).genes
        rng = np.random.default_rng(seed)
        found: dict[str, ArchitectureRecord] = {}
        for _ in range(number * DRAWS_PER_ARCHITECTURE):
            genotype = tuple(int(rng.integers(len(gene.options))) for gene in genes)
            try:
                record = self._spaces.decode(space.id, space.parameters, genotype)
            except EngineError:
                continue  # not every genotype is an architecture in every space
            found.setdefault(record.arch_id, record)
            if len(found) == number:
                return tuple(found.values())
        raise _violation(
            "/num_architectures",
            f"{number * DRAWS_PER_ARCHITECTURE} draws gave {len(found)} different architectures of {space.id!r}: "
            "ask for fewer",
        )

    def _order(
        self,
        tx: Transaction,
        spec: RankingStudySpec,
        subject: _Subject,
        records: Sequence[ArchitectureRecord],
        creator: Creator,
    ) -> RankingStudy:
        study = RankingStudy(
            id=new_id(IdPrefix.STUDY),
            spec=spec,
            supernet_id=subject.version.supernet_id,
            supernet_version_id=subject.version.id,
            dataset=subject.dataset,
            state=StudyState.QUEUED,
            num_entries=len(records),
            created_by=creator.token_id,
            owner=creator.owner,
            created_at=tx.now(),
        )
        entries = [
            StudyEntry(study_id=study.id, number=number, record=record, state=StudyEntryState.WAITING)
            for number, record in enumerate(records, start=1)
        ]
        StudyStore(tx).add_study(study, entries)
        plugins = plugins_of(self._spaces, self._datasets, subject.space, subject.dataset)
        for entry in entries:
            JobStore(tx).add_job(
                NewJob(
                    kind=JobKind.RANK,
                    payload=RankPayload(study_id=study.id, number=entry.number, plugins=plugins).to_json(),
                    dedupe_key=job_key(study.id, entry.number),
                    priority=spec.priority,
                    max_attempts=self._settings.max_evaluation_attempts,
                    owner=study.owner,
                )
            )
        payload = {"state": study.state.value, "reason": ""}
        EventStore(tx).append_event(NewEvent(type=EventType.STUDY, payload=payload, study_id=study.id))
        tx.wake(Topic.WORKER_JOBS)
        return study


def _version(tx: Transaction, name: str) -> tuple[Supernet, SupernetVersion]:
    """A version, or the newest one of a supernet. Raises InvalidSpecError."""
    try:
        if has_prefix(name, IdPrefix.SUPERNET_VERSION):
            version = SupernetStore(tx).get_supernet_version(name)
            return SupernetStore(tx).get_training(version.supernet_id), version
        supernet = SupernetStore(tx).get_training(name)
    except NotFoundError as error:
        raise _violation("/supernet", str(error)) from error
    if supernet.latest_version_id is None:
        message = f"supernet {supernet.id} is {supernet.state.value} and has no weights yet: wait until it is ready"
        raise _violation("/supernet", message)
    return supernet, SupernetStore(tx).get_supernet_version(supernet.latest_version_id)


def _violation(pointer: str, message: str) -> InvalidSpecError:
    return InvalidSpecError([SpecViolation(pointer, message)])
