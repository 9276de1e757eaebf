"""How an entry of a batch gets its latency: an earlier measurement, a job that is under way, or a job of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.artifacts.artifact import ModelExport, WeightsOrigin
from server.artifacts.store import ArtifactStore
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.fleet.device import HardwareProfile
from server.fleet.selection import converter_labels, format_for
from server.jobs.job import Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind
from server.latency_tables.batch import Batch, BatchEntry
from server.latency_tables.progress import measured_entry, observed
from server.latency_tables.store import BatchStore
from server.measuring.evidence import find_reusable
from server.measuring.measurement import MeasurementRecord
from server.measuring.orders import profiles_from
from server.measuring.payloads import ConvertPayload, MeasurePayload, MeasureTarget, OperatorDocument
from server.spaces.architecture import ArchitectureDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkToMeasure:
    """What an entry's model file is made of.

    Attributes:
        source: an architecture of a space, or one of the space's operators.
        label: what the measurement is called; empty for an architecture, which has its id.
    """

    entry: BatchEntry
    source: ArchitectureDocument | OperatorDocument
    label: str = ""


class BatchScheduler:
    """Orders the latencies of entries; runs inside the caller's transaction, on a locked batch."""

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings

    def order(
        self, tx: Transaction, batch: Batch, profile: HardwareProfile, networks: Sequence[NetworkToMeasure]
    ) -> tuple[BatchEntry, ...]:
        """The entries, each with its latency where that is known, else with the job that brings it."""
        entries = tuple(self._ordered(tx, batch, profile, network) for network in networks)
        tx.wake(Topic.DEVICE_JOBS)
        tx.wake(Topic.WORKER_JOBS)
        return entries

    def _ordered(
        self, tx: Transaction, batch: Batch, profile: HardwareProfile, network: NetworkToMeasure
    ) -> BatchEntry:
        entry = network.entry
        known = _known(tx, batch, profile, entry)
        if known is not None:
            return measured_entry(entry, known)
        for other in BatchStore(tx).batch_entries_waiting_for(entry.latency_key, profile.hardware_key):
            owner = BatchStore(tx).get_batch(other.batch_id)
            (current,) = observed(tx, [other])
            if _would_take(owner) == _would_take(batch) and not current.state.final:
                return replace(entry, job_id=other.job_id)
        return replace(entry, job_id=self._queue(tx, batch, profile, network).id)

    def _queue(self, tx: Transaction, batch: Batch, profile: HardwareProfile, network: NetworkToMeasure) -> Job:
        """Have the network measured, and made a model file of before where there is none that fits."""
        spec, key, format = batch.spec, network.entry.latency_key, format_for(profile.key.identity.runtime)
        # Latency does not depend on weights: any export under this key will do.
        export = ArtifactStore(tx).find_export(key, format, tuple(WeightsOrigin), None)
        measure = _measuring(batch, profile, network, export)
        target = MeasureTarget(
            device_type=spec.device.device_type,
            pool_key=profile.pool_key,
            labels=dict(spec.device.labels),
            max_attempts=spec.measurement.max_attempts,
        )
        dedupe = f"{key}:{profile.hardware_key}:{_would_take(batch)}"

        if export is not None and not (spec.device.npu_only and export.cpu_operators):
            job = NewJob(
                kind=JobKind.MEASURE,
                payload=measure.to_json(),
                dedupe_key=f"batch-measure:{dedupe}",
                priority=spec.priority,
                max_attempts=target.max_attempts,
                target=JobTarget(device_type=target.device_type, pool_key=target.pool_key, labels=target.labels),
                latency_key=key,
                hardware_key=profile.hardware_key,
                owner=batch.owner,
            )
        else:
            job = NewJob(
                kind=JobKind.CONVERT,
                payload=_conversion(network, measure, target, spec.device.npu_only).to_json(),
                dedupe_key=f"batch-convert:{dedupe}",
                priority=spec.priority,
                target=JobTarget(labels=converter_labels(format)),
                max_attempts=self._settings.max_evaluation_attempts,
                latency_key=key,
                hardware_key=profile.hardware_key,
                owner=batch.owner,
            )
        return JobStore(tx).add_job(job)


def _measuring(
    batch: Batch, profile: HardwareProfile, network: NetworkToMeasure, export: ModelExport | None
) -> MeasurePayload:
    """What a device is to measure; the model is filled in by the conversion where there is no `export` yet."""
    spec = batch.spec
    return MeasurePayload(
        model_sha256="" if export is None else export.sha256,
        model_format=format_for(profile.key.identity.runtime),
        profile=spec.measurement.profile,
        dtype=spec.device.dtype,
        batch=spec.device.batch,
        latency_key=network.entry.latency_key,
        hardware_key=profile.hardware_key,
        core_mask=profile.key.identity.core_mask,
        validity_policy=spec.measurement.validity_policy,
        timeout_s=spec.measurement.timeout_s,
        arch_id=network.entry.arch_id,
        cpu_operators=() if export is None else export.cpu_operators,
        label=network.label,
    )


def _conversion(
    network: NetworkToMeasure, measure: MeasurePayload, target: MeasureTarget, npu_only: bool
) -> ConvertPayload:
    """What makes the model file, with the measurement that follows."""
    source = network.source
    return ConvertPayload(
        architecture=source if isinstance(source, ArchitectureDocument) else None,
        operator=source if isinstance(source, OperatorDocument) else None,
        arch_id=measure.arch_id,
        format=measure.model_format,
        dtype=measure.dtype,
        batch=measure.batch,
        weights=WeightsOrigin.RANDOM,
        npu_only=npu_only,
        measure=measure,
        measure_target=target,
        latency_key=measure.latency_key,
        hardware_key=measure.hardware_key,
    )


def _known(tx: Transaction, batch: Batch, profile: HardwareProfile, entry: BatchEntry) -> MeasurementRecord | None:
    """An earlier measurement that may stand for an entry."""
    wanted = batch.spec.measurement
    if not wanted.reuse:
        return None
    return find_reusable(
        tx,
        entry.latency_key,
        profile,
        batch.spec.device.device_type,
        profiles_from(wanted.profile),
        wanted.validity_policy,
    )


def _would_take(batch: Batch) -> str:
    spec = batch.spec
    labels = ",".join(f"{key}={value}" for key, value in sorted(spec.device.labels.items()))
    hardware = f"{spec.device.device_type}:{spec.device.npu_only}:{labels}"
    return f"{spec.measurement.profile}:{spec.measurement.validity_policy}:{hardware}"
