"""Long-running jobs of a search: ordered by a step, done by a worker of their own, waited for by the next step.

A step stays short: what takes minutes or hours (shifting a supernet, deriving a network) is ordered with the step's
checkpoint, at most one such job per step. While it is unfinished the generation barrier stands. It commits its result
in one transaction of its own, and the next step is given that result. A crash before that repeats the job from its
payload, or from a checkpoint of its own.

A further kind needs: a member of `JobKind` with its entry in job_kinds.py, a payload (`LongJobPayload`), an order
(`LongJobOrder`) with its case in `order_long_job`, and a handler that ends with `LongJobs.finish` or a commit of its
own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum

from nas_engine.domain.json_value import JsonValue
from server.candidates.candidate import Candidate
from server.candidates.lifecycle import advance
from server.candidates.payloads import DerivePayload, LongJobPayload, ShiftPayload
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import InvalidValueError, LeaseLostError
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.jobs.completion import cancel_job, complete_job
from server.jobs.job import LeaseRef, NewJob
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.searches.steps.step import DeriveOrder, FinishedLongJob, LongJobOrder, ShiftOrder


class LongJobVerdict(Enum):
    """Whether the result of a long-running job was committed."""

    COMMITTED = "committed"
    DISCARDED = "discarded"  # the search was cancelled before the job ended


Commit = Callable[[Transaction, Search], Search]
"""Writes the job's result on the locked search; returns the search as saved."""


class LongJobs:
    """Starts, reports and ends the long-running jobs of searches, for their workers."""

    def __init__(self, uow: UnitOfWork, settings: SearchSettings | None = None) -> None:
        self._uow = uow
        self._settings = settings or SearchSettings()

    def load(self, lease: LeaseRef) -> Search:
        """Read the search that a leased job belongs to.

        Raises:
            LeaseLostError: the lease is not current, or the search has moved on; take other work.
        """

        def look(tx: Transaction) -> Search:
            job = JobStore(tx).get_job(lease.job_id)
            payload = read_payload(LongJobPayload, job.payload)
            search = SearchStore(tx).get_search(payload.search_id)
            if job.lease != lease or payload.seq != search.checkpoint_seq:
                raise LeaseLostError(lease.job_id, lease.lease_epoch)
            return search

        return self._uow.read(look)

    def report(self, lease: LeaseRef, progress: Mapping[str, JsonValue]) -> None:
        """Publish the job's progress as an event of its search. Raises LeaseLostError: stop working."""

        def work(tx: Transaction) -> None:
            job = JobStore(tx).lock_job_of_lease(lease)
            payload: dict[str, JsonValue] = {"job_id": job.id, "kind": job.kind.value, **progress}
            EventStore(tx).append_event(NewEvent(type=EventType.WORK, search_id=job.search_id, payload=payload))

        self._uow.write(work)

    def finish(self, lease: LeaseRef, result: JsonValue, commit: Commit | None = None) -> LongJobVerdict:
        """End the job with its result, which the next step is given, and open the barrier.

        Args:
            lease: of the job.
            result: small JSON.
            commit: writes what the job produced besides, in the same transaction.

        Raises:
            LeaseLostError: somebody else has the job by now; nothing is written.
        """

        def work(tx: Transaction) -> LongJobVerdict:
            payload = read_payload(LongJobPayload, JobStore(tx).get_job(lease.job_id).payload)
            search = SearchStore(tx).lock_search(payload.search_id)
            job = JobStore(tx).lock_job_of_lease(lease)
            if search.state.final:
                cancel_job(tx, job)
                return LongJobVerdict.DISCARDED
            if payload.seq != search.checkpoint_seq:
                raise LeaseLostError(lease.job_id, lease.lease_epoch)
            if commit is not None:
                search = commit(tx, search)
            complete_job(tx, job, result)
            advance(tx, search, self._settings)
            return LongJobVerdict.COMMITTED

        return self._uow.write(work)


def order_long_job(
    tx: Transaction, search: Search, order: LongJobOrder, asked: Sequence[Candidate], settings: SearchSettings
) -> None:
    """Queue the long-running job of a step that is being committed.

    Args:
        search: saved with the step's checkpoint number.
        order: kind of job and its parameters.
        asked: the step's new candidates, in order.

    Raises:
        InvalidValueError: the search lacks what the job needs.
    """
    payload: LongJobPayload
    match order:
        case ShiftOrder():
            kind, payload = JobKind.SHIFT, _shift_payload(search, order, asked)
        case DeriveOrder(number):
            derivation = DerivePayload(search_id=search.id, seq=search.checkpoint_seq, number=number)
            kind, payload = JobKind.DERIVE, derivation
    JobStore(tx).add_job(
        NewJob(
            kind=kind,
            payload=payload.to_json(),
            dedupe_key=_dedupe_key(search),
            priority=search.spec.priority,
            max_attempts=settings.max_evaluation_attempts,
            search_id=search.id,
            owner=search.owner,
        )
    )
    tx.wake(Topic.WORKER_JOBS)


def finished_long_job(tx: Transaction, search: Search) -> FinishedLongJob | None:
    """Return the finished job that the last step ordered; None where it ordered none."""
    job = JobStore(tx).find_done_job(_dedupe_key(search))
    return None if job is None else FinishedLongJob(job.kind, job.result)


def add_report(search: Search, topic: str, entries: Mapping[str, JsonValue]) -> Search:
    """Return the search with `entries` merged into this topic of its progress report; not saved."""
    said = search.progress.report.get(topic)
    known = said if isinstance(said, Mapping) else {}
    report: dict[str, JsonValue] = {**search.progress.report, topic: {**known, **entries}}
    return replace(search, progress=replace(search.progress, report=report))


def _dedupe_key(search: Search) -> str:
    return f"work:{search.id}:{search.checkpoint_seq}"


def _shift_payload(search: Search, order: ShiftOrder, asked: Sequence[Candidate]) -> ShiftPayload:
    if search.supernet_version_id is None:
        raise InvalidValueError(f"search {search.id} has no supernet version to shift")
    if not asked:
        raise InvalidValueError(f"search {search.id} asked no candidate: there is nothing to shift towards")
    return ShiftPayload(
        search_id=search.id,
        seq=search.checkpoint_seq,
        candidate_ids=tuple(candidate.id for candidate in asked),
        survivors=order.survivors,
        supernet_version_id=search.supernet_version_id,
        state_sha256=order.state_sha256,
    )
