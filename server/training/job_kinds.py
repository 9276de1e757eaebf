"""The kind of jobs of training: supernets, and networks that are trained by themselves."""

from __future__ import annotations

from server.candidates.used_plugins import in_words
from server.core.database.transaction import Transaction
from server.jobs.failures import FinalFailure
from server.jobs.job import Job
from server.jobs.payloads import read_payload
from server.jobs.registry import HEAVY_LANE, KindOfJob
from server.jobs.states import JobKind
from server.training.lifecycle import end_network, end_supernet
from server.training.training import TrainingState, TrainPayload


def training_kinds() -> tuple[KindOfJob, ...]:
    """List the kind TRAIN with its payload and what its ends mean."""

    def failed(tx: Transaction, job: Job, failure: FinalFailure) -> None:
        if job.supernet_id is not None:
            end_supernet(tx, job.supernet_id, TrainingState.FAILED, f"{failure.type.value}: {failure.message}")
        elif job.network_id is not None:
            end_network(tx, job.network_id, TrainingState.FAILED, f"{failure.type.value}: {failure.message}")

    return (
        KindOfJob(
            kind=JobKind.TRAIN,
            payload=TrainPayload,
            executor=HEAVY_LANE,
            failed=failed,
            brought=lambda _, job: in_words(read_payload(TrainPayload, job.payload).plugins),
        ),
    )
