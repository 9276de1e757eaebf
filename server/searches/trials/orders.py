"""Orders trials: a candidate's external metrics are awaited, and a job waits for an evaluator who brings them."""

from __future__ import annotations

from server.candidates.candidate import Candidate
from server.candidates.evaluations import record_awaited
from server.candidates.payloads import TrialPayload
from server.candidates.search import Search
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.jobs.job import Job, NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind


def order_trial(tx: Transaction, search: Search, candidate: Candidate, settings: SearchSettings) -> Job:
    """Have the external metrics of a new candidate of a locked search brought, all of them in one trial."""
    metrics = search.spec.external_metrics()
    for metric in metrics:
        record_awaited(tx, search, candidate, metric, 1, None)
    payload = TrialPayload(
        search_id=search.id, candidate_id=candidate.id, metrics=tuple(metric.name for metric in metrics)
    )
    tx.wake(Topic.TRIALS)
    return JobStore(tx).add_job(
        NewJob(
            kind=JobKind.TRIAL,
            payload=payload.to_json(),
            dedupe_key=f"trial:{candidate.id}",
            priority=search.spec.priority,
            max_attempts=settings.max_evaluation_attempts,
            search_id=search.id,
            candidate_id=candidate.id,
            owner=search.owner,
        )
    )
