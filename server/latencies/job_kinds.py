"""The kind of jobs of latencies: fits of predictors, on workers."""

from __future__ import annotations

from dataclasses import replace

from server.core.database.transaction import Transaction
from server.jobs.failures import FinalFailure
from server.jobs.job import Job
from server.jobs.payloads import read_payload
from server.jobs.registry import FIT_LANE, KindOfJob
from server.jobs.states import JobKind
from server.latencies.predictors.payloads import FitPayload
from server.latencies.predictors.store import PredictorStore


def latency_kinds() -> tuple[KindOfJob, ...]:
    """FIT: nobody waits for one, and a failed one is ordered again when as much again was measured."""

    return (
        KindOfJob(
            kind=JobKind.FIT,
            payload=FitPayload,
            executor=FIT_LANE,
            failed=_failed,
            cancellable_alone=False,
        ),
    )


def _failed(tx: Transaction, job: Job, failure: FinalFailure) -> None:
    """Say so in the predictor; what was fitted before goes on being served."""
    store = PredictorStore(tx)
    predictor = store.lock_predictor(read_payload(FitPayload, job.payload).predictor_id)
    store.save_predictor(replace(predictor.tried(predictor), trouble=failure.message))
