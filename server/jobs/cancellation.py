"""How jobs are cancelled."""

from __future__ import annotations

from dataclasses import replace

from server.core.database.transaction import Transaction
from server.jobs.job import Job
from server.jobs.queue import JobStore
from server.jobs.states import JobState, LeaseOutcome


def cancel_job(tx: Transaction, job: Job) -> None:
    """End a locked job as CANCELLED. Nobody waits for a cancelled job."""
    if job.lease is not None:
        JobStore(tx).end_lease(job.lease, LeaseOutcome.CANCELLED, None, None)
    JobStore(tx).finish_job(
        replace(job, state=JobState.CANCELLED, phase=None, lease_expires_at=None, finished_at=tx.now())
    )


def stop_job(tx: Transaction, job_id: str) -> None:
    """Cancel a queued job; have the holder of a leased one told to stop."""
    job = JobStore(tx).lock_job(job_id)
    match job.state:
        case JobState.QUEUED:
            cancel_job(tx, job)
        case JobState.LEASED:
            JobStore(tx).request_cancel_of_job(job.id)
        case _:
            pass
