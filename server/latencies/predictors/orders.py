"""Fits of predictors, ordered as jobs."""

from __future__ import annotations

from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.jobs.job import NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from server.latencies.predictors.payloads import FitPayload
from server.latencies.predictors.predictor import LatencyPredictor

MAX_FIT_ATTEMPTS = 3


def order_fit(tx: Transaction, predictor: LatencyPredictor) -> None:
    """Queue a fit; one that is queued or under way already is enough."""
    JobStore(tx).add_job(
        NewJob(
            kind=JobKind.FIT,
            payload=FitPayload(predictor_id=predictor.id).to_json(),
            dedupe_key=f"fit:{predictor.id}",
            max_attempts=MAX_FIT_ATTEMPTS,
        )
    )
    tx.wake(Topic.WORKER_JOBS)
