"""Ranking studies as their workers see them: one leased job per architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nas_engine.domain.json_value import JsonValue
from server.artifacts.store import ArtifactStore
from server.candidates.candidate import HeldOutAccuracy
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import LeaseLostError
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.jobs.completion import cancel_job, complete_job
from server.jobs.job import LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.studies.lifecycle import MIN_DONE, end_entry, set_study_state
from server.studies.payloads import RankPayload
from server.studies.states import StudyEntryState, StudyState
from server.studies.store import StudyStore
from server.studies.study import Ranker, RankingResult, RankingStudy, StudyEntry
from server.training.training import TrainingProgress


@dataclass(frozen=True, slots=True)
class RankOrder:
    """One architecture of one study, for the worker of a RANK job."""

    study: RankingStudy
    entry: StudyEntry


class RankJobs:
    """Starts, reports and ends RANK jobs, for their workers."""

    def __init__(self, uow: UnitOfWork, rank: Ranker) -> None:
        self._uow = uow
        self._rank = rank

    def start(self, lease: LeaseRef) -> RankOrder:
        """What the worker of a RANK job starts from, its last resumable checkpoint included.

        Raises:
            LeaseLostError: the lease is not current; take other work.
        """

        def work(tx: Transaction) -> RankOrder:
            study, entry = self._locked(tx, lease)
            JobStore(tx).lock_job_of_lease(lease)
            if entry.state.final:
                raise LeaseLostError(lease.job_id, lease.lease_epoch)  # the study was cancelled meanwhile
            if study.state is StudyState.QUEUED:
                study = set_study_state(tx, study, StudyState.RUNNING)
            entry = replace(entry, state=StudyEntryState.TRAINING)
            StudyStore(tx).save_study_entry(entry)
            return RankOrder(study, entry)

        return self._uow.write(work)

    def record_progress(self, lease: LeaseRef, progress: TrainingProgress) -> None:
        """Show how far the training of an architecture is. Raises LeaseLostError."""

        def work(tx: Transaction) -> None:
            study, entry = self._locked(tx, lease)
            JobStore(tx).lock_job_of_lease(lease)
            StudyStore(tx).save_study_entry(replace(entry, progress=progress))
            payload: dict[str, JsonValue] = {
                "number": entry.number,
                "step": progress.step,
                "num_steps": progress.num_steps,
                "loss": progress.loss,
                "metrics": dict(progress.metrics),
            }
            EventStore(tx).append_event(NewEvent(type=EventType.TRAINING, payload=payload, study_id=study.id))

        self._uow.write(work)

    def save_checkpoint(self, lease: LeaseRef, artifact_sha256: str, step: int) -> None:
        """Remember a resumable checkpoint (stored as an artifact). Raises LeaseLostError, NotFoundError."""

        def work(tx: Transaction) -> None:
            ArtifactStore(tx).get_artifact(artifact_sha256)
            _, entry = self._locked(tx, lease)
            JobStore(tx).lock_job_of_lease(lease)
            StudyStore(tx).save_study_entry(replace(entry, resume_artifact_sha256=artifact_sha256, resume_step=step))

        self._uow.write(work)

    def finish(self, lease: LeaseRef, inherited: HeldOutAccuracy, standalone: HeldOutAccuracy) -> RankingStudy:
        """End a RANK job with both accuracies; with the last one the study is over.

        Of a study that was cancelled meanwhile nothing is written but the job's end.

        Raises:
            LeaseLostError: somebody else has the job by now; nothing is written.
        """

        def work(tx: Transaction) -> RankingStudy:
            study, entry = self._locked(tx, lease)
            job = JobStore(tx).lock_job_of_lease(lease)
            if entry.state.final:
                cancel_job(tx, job)
                return study
            entry = replace(entry, state=StudyEntryState.DONE, inherited=inherited, standalone=standalone)
            others = [other for other in StudyStore(tx).study_entries(study.id) if other.number != entry.number]
            study = replace(study, result=self._result(study, [*others, entry]))
            complete_job(tx, job, {"shared_top1": inherited.top1, "alone_top1": standalone.top1})
            return end_entry(tx, study, entry)

        return self._uow.write(work)

    def _result(self, study: RankingStudy, entries: Sequence[StudyEntry]) -> RankingResult | None:
        pairs = [
            (entry.inherited.top1, entry.standalone.top1)
            for entry in sorted(entries, key=lambda entry: entry.number)
            if entry.inherited is not None and entry.standalone is not None
        ]
        if len(pairs) < MIN_DONE:
            return None
        inherited, standalone = zip(*pairs, strict=True)
        return self._rank(inherited, standalone, study.spec.num_local)

    @staticmethod
    def _locked(tx: Transaction, lease: LeaseRef) -> tuple[RankingStudy, StudyEntry]:
        payload = read_payload(RankPayload, JobStore(tx).get_job(lease.job_id).payload)
        study = StudyStore(tx).lock_study(payload.study_id)
        return study, StudyStore(tx).get_study_entry(study.id, payload.number)
