"""Fits as their workers see them: the samples of one predictor, and where what was learned of them goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.artifacts.store import ArtifactStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.jobs.completion import complete_job
from server.jobs.job import LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.latencies.predictors.payloads import FitPayload
from server.latencies.predictors.predictor import MAX_FITTED, FitQuality, LatencyPredictor, PredictedGroup
from server.latencies.predictors.store import FittedSample, PredictorStore


@dataclass(frozen=True, slots=True)
class FitOrder:
    """One predictor that is to be fitted, and what to."""

    predictor: LatencyPredictor
    samples: Sequence[FittedSample]


class Fits:
    """Starts and ends FIT jobs, for their workers."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def start(self, lease: LeaseRef) -> FitOrder:
        """What a leased job is to learn from: the newest measured architectures. Raises LeaseLostError."""

        def look(tx: Transaction) -> FitOrder:
            job = JobStore(tx).get_job(lease.job_id)
            predictor = PredictorStore(tx).get_predictor(read_payload(FitPayload, job.payload).predictor_id)
            group = PredictedGroup(
                device_type=predictor.device_type,
                hardware_key=predictor.hardware_key,
                space_id=predictor.space_id,
                parameters=predictor.parameters,
            )
            return FitOrder(predictor, PredictorStore(tx).samples_of(group, MAX_FITTED))

        return self._uow.read(look)

    def finish(self, lease: LeaseRef, order: FitOrder, artifact_sha256: str, model: str, quality: FitQuality) -> None:
        """Serve what was fitted from now on, and end the job. Raises LeaseLostError: nothing is written then."""
        ids = [one.measurement_id for one in order.samples]
        changes = {
            "num_fitted": len(ids),
            "artifact_sha256": artifact_sha256,
            "model": model,
            "quality": quality,
            "newest_measurement_id": max(ids),
            "trouble": "",
        }
        self._end(lease, order, changes)

    def give_up(self, lease: LeaseRef, order: FitOrder, trouble: str) -> None:
        """Say why nothing could be fitted; what was served before stays, until as much again is new."""
        self._end(lease, order, {"trouble": trouble})

    def _end(self, lease: LeaseRef, order: FitOrder, changes: dict[str, object]) -> None:
        def work(tx: Transaction) -> None:
            predictor = PredictorStore(tx).lock_predictor(order.predictor.id)
            job = JobStore(tx).lock_job_of_lease(lease)
            if (digest := changes.get("artifact_sha256")) is not None:
                ArtifactStore(tx).get_artifact(str(digest))
                changes["fitted_at"] = tx.now()
            # What came in while it was fitted is new to it.
            fitted = replace(predictor, num_seen_at_fit=order.predictor.num_seen, **changes)  # type: ignore[arg-type]
            PredictorStore(tx).save_predictor(fitted)
            complete_job(tx, job, {"predictor_id": predictor.id, "trouble": fitted.trouble})

        self._uow.write(work)
