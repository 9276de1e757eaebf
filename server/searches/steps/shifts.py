"""Supernet shifting as the service sees it: what a SHIFT job starts from, and the one transaction it commits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measuring.paired import CorrectAnswers
from nas_engine.domain.metrics import TOP1
from server.artifacts.store import ArtifactStore
from server.candidates.candidate import Evaluation, HeldOutAccuracy, check_answers
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.evaluations import next_attempt
from server.candidates.lifecycle import record_value
from server.candidates.payloads import ShiftPayload
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.states import EvaluationSource
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidValueError
from server.core.ids import IdPrefix, new_id
from server.jobs.job import LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.searches.accuracy_orders import AccuracyScheduler
from server.searches.steps.long_jobs import LongJobs, LongJobVerdict, add_report
from server.training.store import SupernetStore
from server.training.supernet import SupernetVersion


@dataclass(frozen=True, slots=True)
class ShiftInput:
    """What a SHIFT job starts from.

    Attributes:
        architectures: of the generation's candidates, in the order asked.
    """

    search: Search
    payload: ShiftPayload
    architectures: tuple[Architecture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftedVersion:
    """Weights at one moment of a shift, stored as an artifact already.

    Attributes:
        statistics: losses and the like, for people; `space` where it is not the supernet's own.
        accuracy: of the candidate that was trained last, taken with these weights; None where none was taken.
        answers: which images it got right, where that was kept.
    """

    weights_sha256: str
    statistics: JsonValue = None
    accuracy: HeldOutAccuracy | None = None
    answers: CorrectAnswers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftOutcome:
    """What a SHIFT job commits.

    Attributes:
        versions: in the order made: one for each candidate, each with an accuracy, or one for all without.
        state_sha256: artifact that the next shift goes on from.
        report: losses and the like, for the search's progress.
    """

    versions: tuple[ShiftedVersion, ...]
    state_sha256: str
    report: Mapping[str, JsonValue]


class Shifts:
    """Use cases of the worker that shifts supernets."""

    def __init__(self, uow: UnitOfWork, work: LongJobs, settings: SearchSettings | None = None) -> None:
        self._uow = uow
        self._work = work
        self._accuracies = AccuracyScheduler(settings or SearchSettings())

    def load(self, lease: LeaseRef) -> ShiftInput:
        """What a leased SHIFT job starts from. Raises LeaseLostError."""
        search = self._work.load(lease)

        def look(tx: Transaction) -> ShiftInput:
            payload = read_payload(ShiftPayload, JobStore(tx).get_job(lease.job_id).payload)
            architectures = tuple(
                CandidateStore(tx).get_candidate(i).record.architecture for i in payload.candidate_ids
            )
            return ShiftInput(search, payload, architectures)

        return self._uow.read(look)

    def report(self, lease: LeaseRef, progress: Mapping[str, JsonValue]) -> None:
        """Tell how far the shift is. Raises LeaseLostError."""
        self._work.report(lease, progress)

    def commit(self, lease: LeaseRef, payload: ShiftPayload, outcome: ShiftOutcome) -> LongJobVerdict:
        """Commit a shift: its versions, the accuracies taken on the way, and the evaluations that follow.

        Raises:
            LeaseLostError: somebody else has the job by now; nothing is written.
            InvalidValueError: the outcome does not fit the candidates.
        """
        taken = [version.accuracy is not None for version in outcome.versions]
        if taken != [False] and taken != [True] * len(payload.candidate_ids):
            raise InvalidValueError(
                f"{len(taken)} versions of {len(payload.candidate_ids)} candidates, {sum(taken)} of them with an "
                "accuracy: give one version for all, or one with an accuracy for each"
            )

        def write(tx: Transaction, search: Search) -> Search:
            versions = _add_versions(tx, search, payload, outcome)
            search = replace(search, supernet_version_id=versions[-1].id)
            search = SearchStore(tx).save_search(add_report(search, "shifting", outcome.report))
            for candidate_id, version, made in zip(payload.candidate_ids, versions, outcome.versions, strict=False):
                if made.accuracy is not None:
                    search = self._record(tx, search, candidate_id, version, made.accuracy, made.answers)
            if not search.spec.crosses_versions:
                self._order_scores(tx, search, payload)
            return search

        result: dict[str, JsonValue] = {
            **outcome.report,
            "state_sha256": outcome.state_sha256,
            "survivors": list(payload.survivors),
        }
        return self._work.finish(lease, result, write)

    def _record(
        self,
        tx: Transaction,
        search: Search,
        candidate_id: str,
        version: SupernetVersion,
        accuracy: HeldOutAccuracy,
        answers: CorrectAnswers | None,
    ) -> Search:
        """Store an accuracy that was taken on the way; it counts where no comparison would cross versions by it."""
        check_answers(accuracy, answers)
        candidate = CandidateStore(tx).get_candidate(candidate_id)
        evaluation = Evaluation(
            id=new_id(IdPrefix.EVALUATION),
            search_id=search.id,
            candidate_id=candidate.id,
            metric=TOP1,
            value=accuracy.top1,
            uncertainty=accuracy.standard_error,
            source=EvaluationSource.EVALUATED,
            attempt=next_attempt(tx, candidate, TOP1),
            supernet_version_id=version.id,
            created_at=tx.now(),
        )
        if search.spec.crosses_versions or version.id == search.supernet_version_id:
            return record_value(tx, search, candidate, evaluation, answers)
        EvaluationStore(tx).add_evaluation(evaluation, current=False, answers=answers)
        return search

    def _order_scores(self, tx: Transaction, search: Search, payload: ShiftPayload) -> None:
        """Have everything that will be compared scored with the search's (new) version."""
        candidates = {c.id: c for c in CandidateStore(tx).get_candidates((*payload.candidate_ids, *payload.survivors))}
        for candidate_id in payload.candidate_ids:
            candidate = candidates[candidate_id]
            # Its latency may have ended it meanwhile; the last one trained has its accuracy already.
            awaited = {one.metric for one in EvaluationStore(tx).awaited_evaluations_of(candidate.id)}
            if not candidate.state.final and TOP1 in awaited:
                EvaluationStore(tx).settle_awaited(candidate.id, TOP1)
                self._accuracies.order(tx, search, candidate)
        for candidate_id in payload.survivors:
            self._accuracies.order(tx, search, candidates[candidate_id])


def _add_versions(
    tx: Transaction, search: Search, payload: ShiftPayload, outcome: ShiftOutcome
) -> tuple[SupernetVersion, ...]:
    """Versions of the search's own: the supernet's newest version, for others, stays what it is."""
    if search.supernet_id is None:
        raise InvalidValueError(f"search {search.id} has no supernet to shift")
    supernet = SupernetStore(tx).lock_training(search.supernet_id)
    number, parent_id = len(SupernetStore(tx).versions_of_supernet(supernet.id)), payload.supernet_version_id
    versions: list[SupernetVersion] = []
    for made in outcome.versions:
        ArtifactStore(tx).get_artifact(made.weights_sha256)
        number += 1
        version = SupernetVersion(
            id=new_id(IdPrefix.SUPERNET_VERSION),
            supernet_id=supernet.id,
            number=number,
            weights_sha256=made.weights_sha256,
            statistics=made.statistics,
            search_id=search.id,
            parent_id=parent_id,
            created_at=tx.now(),
        )
        SupernetStore(tx).add_supernet_version(version)
        versions.append(version)
        parent_id = version.id
    return tuple(versions)
