"""The kind of jobs of training: supernets, and networks that are retrained."""

from __future__ import annotations

from server.core.database.transaction import Transaction
from server.jobs.failures import FinalFailure
from server.jobs.job import Job
from server.jobs.registry import HEAVY_LANE, KindOfJob
from server.jobs.states import JobKind
from server.training.lifecycle import end_supernet
from server.training.supernet import SupernetState, TrainPayload


def training_kinds() -> tuple[KindOfJob, ...]:
    """List the kind TRAIN with its payload and what its ends mean."""

    def failed(tx: Transaction, job: Job, failure: FinalFailure) -> None:
        if job.supernet_id is not None:
            end_supernet(tx, job.supernet_id, SupernetState.FAILED, f"{failure.type.value}: {failure.message}")

    return (KindOfJob(kind=JobKind.TRAIN, payload=TrainPayload, executor=HEAVY_LANE, failed=failed),)
