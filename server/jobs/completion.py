"""Ends attempts and jobs: done, failed and queued again, or finally failed. Inside the caller's transaction.

The job must be locked, and before it whatever its kind's `lock_first` locks.
"""

from __future__ import annotations

from dataclasses import replace

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.json_value import JsonValue
from server.core.database.transaction import Transaction
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.jobs.failures import (
    EXCLUDE_AFTER_FAILURES,
    MAX_BACKOFF_S,
    MAX_DEATHS_WITH_PLUGINS,
    MAX_FAILURES_ELSEWHERE,
    MAX_MODEL_FAILURES,
    Failure,
    FinalFailure,
    backoff_s,
    policy_of,
)
from server.jobs.job import Job
from server.jobs.queue import JobStore
from server.jobs.registry import JobKinds
from server.jobs.states import JobState, LeaseOutcome


def cancel_job(tx: Transaction, job: Job) -> None:
    """End a locked job as CANCELLED; nothing waits for it any more."""
    if job.lease is not None:
        _count_from_its_beginning(tx, job)
        JobStore(tx).end_lease(job.lease, LeaseOutcome.CANCELLED, None, None)
    JobStore(tx).finish_job(replace(job, state=JobState.CANCELLED, phase=None, lease_expires_at=None))


def stop_job(tx: Transaction, job_id: str) -> None:
    """Cancel a job that nobody has begun; ask the holder of another to stop."""
    job = JobStore(tx).lock_job(job_id)
    if job.unbegun:
        cancel_job(tx, job)
    elif job.state is JobState.LEASED:
        JobStore(tx).request_cancel_of_job(job.id)


def complete_job(tx: Transaction, job: Job, result: JsonValue, digest: str | None = None) -> None:
    """End a job as DONE: its effects are committed in this transaction.

    Args:
        result: small JSON that says what came of it.
        digest: sha256 of the result as a device sent it.
    """
    lease = job.lease
    if lease is not None:
        JobStore(tx).end_lease(lease, LeaseOutcome.DONE, None, digest)
    JobStore(tx).finish_job(replace(job, state=JobState.DONE, phase=None, result=result, lease_expires_at=None))


def fail_attempt(
    tx: Transaction,
    kinds: JobKinds,
    job: Job,
    failure: Failure,
    *,
    outcome: LeaseOutcome = LeaseOutcome.FAILED,
    device_id: str | None = None,
    digest: str | None = None,
) -> JobState:
    """End an attempt of a leased job: queue it again, or end it and tell everybody who waited.

    Returns:
        QUEUED where it will be tried again, else FAILED or CANCELLED.
    """
    policy, kind = policy_of(failure.type), kinds[job.kind]
    lease = job.lease
    if lease is not None:
        _count_from_its_beginning(tx, job)
        JobStore(tx).end_lease(lease, outcome, failure, digest)
    if device_id is not None and policy.penalise_device:
        kind.executor.note_failure(tx, device_id, job, failure)
    if job.cancel_requested:
        cancel_job(tx, job)
        kind.cancelled(tx, job)
        return JobState.CANCELLED
    poisoned = policy.penalise_model and _poisoned(tx, job)
    attempts_left = job.attempt < job.max_attempts or not policy.counts_attempt
    if policy.retryable and not poisoned and attempts_left and not failure.blames_brought:
        _retry(tx, kinds, job, failure)
        return JobState.QUEUED
    failure = failure.with_remedy
    JobStore(tx).finish_job(
        replace(
            job,
            state=JobState.FAILED,
            phase=None,
            lease_expires_at=None,
            failure_type=failure.type,
            failure_message=failure.message,
        )
    )
    _append_event(tx, job, "failed", failure)
    blames_model = policy.penalise_model and (poisoned or not policy.retryable)
    kind.failed(tx, job, FinalFailure(failure.type, failure.message, failure.blames_brought, blames_model))
    return JobState.FAILED


def expire_lease(
    tx: Transaction, kinds: JobKinds, job: Job, reason: str = "the lease was not renewed in time"
) -> JobState:
    """End the dead lease of a locked job. One that its holder never accepted costs no attempt, nor does one whose
    holder ran what other packages bring in another job: that one pays for it.
    """
    if not job.accepted and not job.cancel_requested:
        failure = Failure(FailureType.AGENT_SHUTDOWN, "the lease was never accepted")
        return fail_attempt(tx, kinds, job, failure, outcome=LeaseOutcome.EXPIRED)
    kind = kinds[job.kind]
    brought = kind.brought(tx, job)
    if brought and JobStore(tx).num_deaths_in_a_row(job, kind.counted_with(job)) + 1 >= MAX_DEATHS_WITH_PLUGINS:
        message = f"{MAX_DEATHS_WITH_PLUGINS} times the worker died, or hung, while it ran {brought}"
        failure = Failure(FailureType.LEASE_LOST, message, blames_brought=True)
        return fail_attempt(tx, kinds, job, failure, outcome=LeaseOutcome.EXPIRED)
    # What other packages bring to jobs that died, or will, with the holder of this one.
    others = () if brought else JobStore(tx).jobs_lost_with(job)
    if beside := next((words for other in others if (words := kinds[other.kind].brought(tx, other))), ""):
        failure = Failure(FailureType.AGENT_SHUTDOWN, f"{reason}: at the same time its worker ran {beside}")
        return fail_attempt(tx, kinds, job, failure, outcome=LeaseOutcome.EXPIRED)
    return fail_attempt(tx, kinds, job, Failure(FailureType.LEASE_LOST, reason), outcome=LeaseOutcome.EXPIRED)


def _count_from_its_beginning(tx: Transaction, job: Job) -> None:
    """What was held and never begun took nobody's time."""
    if job.state is JobState.LEASED and not job.accepted and job.lease_id is not None:
        JobStore(tx).begin_lease(job.lease_id)


def _retry(tx: Transaction, kinds: JobKinds, job: Job, failure: Failure) -> None:
    counts = policy_of(failure.type).counts_attempt
    kind, owner = kinds[job.kind], job.lease_owner
    JobStore(tx).note_job_failure(job, failure)
    delay_s = backoff_s(job.attempt) if counts else 0.0
    if failure.type is FailureType.DEVICE_BUSY:
        # One that was given back before makes room for those behind it: this one may never fit there.
        before = sum(one.failure_type is FailureType.DEVICE_BUSY for one in JobStore(tx).lease_history(job.id)) > 1
        delay_s = MAX_BACKOFF_S if before else 0.0
    JobStore(tx).requeue_job(job, delay_s, count_attempt=counts)
    if owner is not None and counts:
        bad = (LeaseOutcome.FAILED, LeaseOutcome.EXPIRED)
        ended = [one for one in JobStore(tx).lease_history(job.id) if one.owner == owner and one.outcome in bad]
        num_failed = sum(one.failure_type is not None and policy_of(one.failure_type).counts_attempt for one in ended)
        # Only where another can take it: a job that nobody may do would wait for ever.
        if num_failed >= EXCLUDE_AFTER_FAILURES and kind.executor.has_other(tx, job, kind.feature, owner):
            JobStore(tx).exclude_owner_from_job(job.id, owner)
    _append_event(tx, job, "requeued", failure)
    tx.wake(kind.executor.topic)


def _poisoned(tx: Transaction, job: Job) -> bool:
    """Whether the model has failed so often, or on so many, that it is at fault itself."""
    if job.latency_key is None or job.hardware_key is None:
        return False
    failures = JobStore(tx).model_failures(job.latency_key, job.hardware_key)
    return len(failures) >= MAX_FAILURES_ELSEWHERE or sum(failures.values()) >= MAX_MODEL_FAILURES


def _append_event(tx: Transaction, job: Job, what: str, failure: Failure) -> None:
    payload: dict[str, JsonValue] = {
        "job_id": job.id,
        "kind": job.kind.value,
        "what": what,
        "attempt": job.attempt,
        "failure_type": failure.type.value,
        "message": failure.message,
    }
    EventStore(tx).append_event(
        NewEvent(
            type=EventType.JOB,
            payload=payload,
            search_id=job.search_id,
            supernet_id=job.supernet_id,
            network_id=job.network_id,
        )
    )
