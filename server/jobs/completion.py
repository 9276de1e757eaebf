"""What the end of a job means: for the device, for the architecture, for the searches that waited for it."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.domain.json_value import JsonValue
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.lifecycle import advance, affected_searches, end_candidate, end_search
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.states import CandidateState, SearchState
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.core.events import EventStore, EventType, NewEvent
from server.fleet.lifecycle import set_device_state
from server.fleet.states import DEVICE_TRANSITIONS, DeviceState
from server.fleet.store import DeviceStore
from server.jobs.cancellation import cancel_job
from server.jobs.failures import (
    EXCLUDE_AFTER_FAILURES,
    MAX_DEVICE_FAILURES,
    MAX_FAILURES_ELSEWHERE,
    MAX_MODEL_FAILURES,
    Failure,
    backoff_s,
    policy_of,
)
from server.jobs.job import Job
from server.jobs.kinds import SEARCH_WORK_KINDS, WAKES_DEVICES, JobKind
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobState, LeaseOutcome
from server.studies.lifecycle import fail_entry
from server.training.lifecycle import end_supernet
from server.training.states import SupernetState


def topic_of(kind: JobKind) -> Topic:
    """Who is woken by a job of this kind."""
    return Topic.DEVICE_JOBS if kind in WAKES_DEVICES else Topic.WORKER_JOBS


class JobEnds:
    """Ends attempts and jobs inside the caller's transaction. The job must be locked, its searches too."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings

    def done(self, tx: Transaction, job: Job, result: JsonValue, digest: str | None = None) -> None:
        """The job's work is committed in this transaction."""
        lease = job.lease
        if lease is not None:
            JobStore(tx).end_lease(lease, LeaseOutcome.DONE, None, digest)
        JobStore(tx).finish(
            replace(job, state=JobState.DONE, phase=None, result=result, lease_expires_at=None, finished_at=tx.now())
        )

    def failed(
        self,
        tx: Transaction,
        job: Job,
        failure: Failure,
        *,
        outcome: LeaseOutcome = LeaseOutcome.FAILED,
        device_id: str | None = None,
        digest: str | None = None,
    ) -> JobState:
        """An attempt of a leased job failed: try again, or end the job and tell everybody who waited.

        Returns:
            QUEUED where it will be tried again, else FAILED or CANCELLED.
        """
        policy = policy_of(failure.type)
        lease = job.lease
        if lease is not None:
            JobStore(tx).end_lease(lease, outcome, failure, digest)
        if device_id is not None and policy.penalise_device:
            self._penalise(tx, device_id, job, failure)
        if job.cancel_requested:
            cancel_job(tx, job)
            self._go_on(tx, job)
            return JobState.CANCELLED
        poisoned = policy.penalise_model and self._poisoned(tx, job)
        attempts_left = job.attempt < job.max_attempts or not policy.counts_attempt
        if policy.retryable and not poisoned and attempts_left:
            self._retry(tx, job, failure)
            return JobState.QUEUED
        self.give_up(tx, job, failure, blame_model=policy.penalise_model and (poisoned or not policy.retryable))
        return JobState.FAILED

    def give_up(self, tx: Transaction, job: Job, failure: Failure, *, blame_model: bool) -> None:
        """End the job as FAILED and tell everybody who waited for it."""
        JobStore(tx).finish(
            replace(
                job,
                state=JobState.FAILED,
                phase=None,
                lease_expires_at=None,
                failure_type=failure.type,
                failure_message=failure.message,
                finished_at=tx.now(),
            )
        )
        self._event(tx, job, "failed", failure)
        match job.kind:
            case JobKind.CONVERT if job.payload.get("classify") is not None and job.candidate_id is not None:
                self._fail_evaluated(tx, job, failure)  # a finalist keeps what it has
            case JobKind.MEASURE | JobKind.CONVERT:
                self._fail_waiting(tx, job, failure, blame_model=blame_model)
            case JobKind.EVALUATE | JobKind.CLASSIFY:
                self._fail_evaluated(tx, job, failure)
            case JobKind.SEARCH_STEP | JobKind.SHIFT | JobKind.DERIVE:
                self._fail_search(tx, job, failure)
            case JobKind.TRAIN:
                self._fail_supernet(tx, job, failure)
            case JobKind.RANK:
                fail_entry(tx, job, failure)

    def _go_on(self, tx: Transaction, job: Job) -> None:
        """Open the barrier of a search whose heavy work was stopped by a pause."""
        if job.kind in SEARCH_WORK_KINDS and job.search_id is not None:
            advance(tx, SearchStore(tx).lock(job.search_id), self._settings)

    def _retry(self, tx: Transaction, job: Job, failure: Failure) -> None:
        counts = policy_of(failure.type).counts_attempt
        owner = job.lease_owner
        JobStore(tx).note_failure(job, failure)
        JobStore(tx).requeue(job, backoff_s(job.attempt) if counts else 0.0, count_attempt=counts)
        if owner is not None and counts and job.kind in WAKES_DEVICES:
            failures = [r for r in JobStore(tx).lease_history(job.id) if r.owner == owner and _counted(r.outcome)]
            # Only where another device can take it: a job that nobody may do would wait for ever.
            if len(failures) >= EXCLUDE_AFTER_FAILURES and DeviceStore(tx).num_able(job.target, owner, job.kind) > 0:
                JobStore(tx).exclude(job.id, owner)
        self._event(tx, job, "requeued", failure)
        tx.wake(topic_of(job.kind))

    def _poisoned(self, tx: Transaction, job: Job) -> bool:
        if job.latency_key is None or job.hardware_key is None:
            return False
        failures = JobStore(tx).model_failures(job.latency_key, job.hardware_key)
        return len(failures) >= MAX_FAILURES_ELSEWHERE or sum(failures.values()) >= MAX_MODEL_FAILURES

    def _penalise(self, tx: Transaction, device_id: str, job: Job, failure: Failure) -> None:
        device = DeviceStore(tx).lock(device_id)
        count = device.num_failures_in_a_row + 1
        device = replace(device, num_failures_in_a_row=count)
        if count >= MAX_DEVICE_FAILURES and DeviceState.QUARANTINED in DEVICE_TRANSITIONS[device.state]:
            reason = f"{count} failures in a row, last of job {job.id}: {failure.type.value}: {failure.message}"
            set_device_state(tx, device, DeviceState.QUARANTINED, reason)
        else:
            DeviceStore(tx).save(device)

    def _fail_waiting(self, tx: Transaction, job: Job, failure: Failure, *, blame_model: bool) -> None:
        if job.latency_key is None or job.hardware_key is None:
            return
        searches = affected_searches(tx, job)
        state = CandidateState.INFEASIBLE if blame_model else CandidateState.FAILED
        reason = f"{failure.type.value}: {failure.message}"
        for awaited in EvaluationStore(tx).awaited_under(job.latency_key, job.hardware_key):
            if self._waits_for(searches[awaited.search_id], job):
                self._end_candidate(tx, searches, awaited.candidate_id, awaited.search_id, state, reason)
        for search in searches.values():
            advance(tx, search, self._settings)

    @staticmethod
    def _waits_for(search: Search, job: Job) -> bool:
        """Whether this job was the one that would have served the search."""
        if job.kind is JobKind.CONVERT or job.search_id == search.id:
            return True
        spec = search.spec.measurement
        return (spec.profile, spec.validity_policy) == (job.payload["profile"], job.payload["validity_policy"])

    def _end_candidate(
        self,
        tx: Transaction,
        searches: dict[str, Search],
        candidate_id: str,
        search_id: str,
        state: CandidateState,
        reason: str,
    ) -> None:
        candidate = CandidateStore(tx).get(candidate_id)
        if candidate.state.final:  # a re-evaluation failed: the candidate keeps what it has
            EvaluationStore(tx).settle_candidate(candidate_id)
            return
        searches[search_id] = end_candidate(tx, searches[search_id], candidate, state, reason)

    def _fail_evaluated(self, tx: Transaction, job: Job, failure: Failure) -> None:
        if job.search_id is None or job.candidate_id is None:
            return
        searches = affected_searches(tx, job)
        reason = f"{failure.type.value}: {failure.message}"
        self._end_candidate(tx, searches, job.candidate_id, job.search_id, CandidateState.FAILED, reason)
        advance(tx, searches[job.search_id], self._settings)

    def _fail_search(self, tx: Transaction, job: Job, failure: Failure) -> None:
        if job.search_id is None:
            return
        search = SearchStore(tx).lock(job.search_id)
        if not search.state.final:
            what = "a search step" if job.kind is JobKind.SEARCH_STEP else f"{job.kind.value} work of the search"
            end_search(tx, search, SearchState.FAILED, f"{what} failed: {failure.type.value}: {failure.message}")

    def _fail_supernet(self, tx: Transaction, job: Job, failure: Failure) -> None:
        if job.supernet_id is None:
            return
        end_supernet(tx, job.supernet_id, SupernetState.FAILED, f"{failure.type.value}: {failure.message}")

    @staticmethod
    def _event(tx: Transaction, job: Job, what: str, failure: Failure) -> None:
        payload: dict[str, JsonValue] = {
            "job_id": job.id,
            "kind": job.kind.value,
            "what": what,
            "attempt": job.attempt,
            "failure_type": failure.type.value,
            "message": failure.message,
        }
        EventStore(tx).append(
            NewEvent(type=EventType.JOB, payload=payload, search_id=job.search_id, supernet_id=job.supernet_id)
        )


def _counted(outcome: LeaseOutcome | None) -> bool:
    return outcome in (LeaseOutcome.FAILED, LeaseOutcome.EXPIRED)
