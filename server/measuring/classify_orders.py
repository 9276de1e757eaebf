"""Queues classifying jobs: a conversion, or a measurement of a user's own model, is followed by one."""

from __future__ import annotations

from server.access.principal import Principal
from server.candidates.candidate import Candidate
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.jobs.job import Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from server.measuring.payloads import ClassifyPayload, MeasureTarget


def queue_classification(
    tx: Transaction,
    payload: ClassifyPayload,
    target: MeasureTarget,
    *,
    priority: int,
    owner: Principal | None,
    candidate: Candidate | None = None,
    interactive: bool = False,
) -> Job:
    """Queue the job of a model file that is there. Failures are counted per source model and hardware key."""
    tx.wake(Topic.DEVICE_JOBS)
    return JobStore(tx).add_job(
        NewJob(
            kind=JobKind.CLASSIFY,
            payload=payload.to_json(),
            dedupe_key=None if candidate is None else f"classify:{candidate.id}:{payload.attempt}",
            priority=priority,
            interactive=interactive,
            max_attempts=target.max_attempts,
            target=JobTarget(device_type=target.device_type, pool_key=target.pool_key, labels=target.labels),
            search_id=None if candidate is None else candidate.search_id,
            candidate_id=None if candidate is None else candidate.id,
            latency_key=payload.source_sha256,
            hardware_key=payload.hardware_key,
            owner=owner,
        )
    )
