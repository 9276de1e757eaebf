"""Fits as their workers see them: the samples of one predictor, and where what was learned of them goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nas_engine.cost.latency_table import LatencyTable, TableEntry
from server.artifacts.store import ArtifactStore
from server.core.database.transaction import Transaction, UnitOfWork
from server.jobs.completion import complete_job
from server.jobs.job import LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.latencies.predictors.payloads import FitPayload
from server.latencies.predictors.predictor import MAX_FITTED, FitQuality, LatencyPredictor, PredictedGroup
from server.latencies.predictors.store import FittedSample, PredictorStore
from server.latency_tables.store import BatchStore
from server.spaces.store import ArchitectureStore

MAX_CALIBRATED = 2000
"""Networks that a table is calibrated by, of the newest reports: each is left out of all others in turn."""


@dataclass(frozen=True, slots=True)
class FitOrder:
    """One predictor that is to be fitted, and what to.

    Attributes:
        samples: measured architectures; where there is a table, networks that its reports compare.
        table: that it is made of; None where it is fitted to architectures.
        report_ids: reports that the samples are of.
    """

    predictor: LatencyPredictor
    samples: Sequence[FittedSample]
    table: LatencyTable | None = None
    report_ids: tuple[str, ...] = ()


class Fits:
    """Starts and ends FIT jobs, for their workers."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def start(self, lease: LeaseRef) -> FitOrder:
        """What a leased job is to learn from: the newest measured architectures, or a table with what its reports
        compare. Raises LeaseLostError.
        """

        def look(tx: Transaction) -> FitOrder:
            job = JobStore(tx).get_job(lease.job_id)
            predictor = PredictorStore(tx).get_predictor(read_payload(FitPayload, job.payload).predictor_id)
            if predictor.table_id is not None:
                return _of_table(tx, predictor, predictor.table_id)
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
        changes: dict[str, object] = {
            "num_fitted": quality.num_left_out,  # a table is calibrated by networks that are wholly in it alone
            "artifact_sha256": artifact_sha256,
            "model": model,
            "quality": quality,
            "newest_measurement_id": max(ids),
            "trouble": "",
        }
        self._end(lease, order, changes)

    def give_up(self, lease: LeaseRef, order: FitOrder, trouble: str) -> None:
        """Say why nothing could be fitted; what was served before stays, until as much again is new. Of a table that
        changed nothing is served any longer.
        """
        self._end(lease, order, {"trouble": trouble})

    def _end(self, lease: LeaseRef, order: FitOrder, changes: dict[str, object]) -> None:
        def work(tx: Transaction) -> None:
            predictor = PredictorStore(tx).lock_predictor(order.predictor.id)
            job = JobStore(tx).lock_job_of_lease(lease)
            if (digest := changes.get("artifact_sha256")) is not None:
                ArtifactStore(tx).get_artifact(str(digest))
                changes["fitted_at"] = tx.now()
            if order.table is not None:
                predictor = predictor.withdrawn("")
                if "quality" in changes and predictor.standing is not None:
                    standing = replace(
                        predictor.standing, num_operators=len(order.table.entries), report_ids=order.report_ids
                    )
                    predictor = replace(predictor, standing=standing)
            # What came in while it was fitted is new to it.
            fitted = replace(predictor.tried(order.predictor), **changes)  # type: ignore[arg-type]
            PredictorStore(tx).save_predictor(fitted)
            complete_job(tx, job, {"predictor_id": predictor.id, "trouble": fitted.trouble})

        self._uow.write(work)


def _of_table(tx: Transaction, predictor: LatencyPredictor, table_id: str) -> FitOrder:
    store = BatchStore(tx)
    batch, operators = store.get_batch(table_id), store.trusted_entries(table_id)
    table = LatencyTable(
        space_id=predictor.space_id,
        hardware_key=predictor.hardware_key,
        batch=batch.batch_size,
        dtype=batch.dtype,
        entries={
            one.latency_key: TableEntry(one.latency_key, one.latency_us)
            for one in operators
            if one.latency_us is not None
        },
    )
    entries = {
        one.arch_id: one
        for report in reversed(store.ended_reports([table_id]))  # of a network of several reports the newest stays
        for one in store.trusted_entries(report.id)
        if one.arch_id is not None
    }
    newest = sorted(entries.items(), key=lambda pair: pair[1].batch_id, reverse=True)[:MAX_CALIBRATED]
    records = ArchitectureStore(tx).get_architectures([arch_id for arch_id, _ in newest])
    samples, report_ids = [], set[str]()
    for arch_id, one in newest:
        genotype = records[arch_id].genotype
        if genotype is not None and one.latency_us is not None and one.measurement_id is not None:
            sample = FittedSample(
                measurement_id=one.measurement_id,
                arch_id=arch_id,
                genotype=tuple(genotype),
                latency_us=one.latency_us,
                standard_error_us=0.0,
            )
            samples.append(sample)
            report_ids.add(one.batch_id)
    return FitOrder(predictor, samples, table, tuple(sorted(report_ids)))
