"""How an entry of a batch gets its latency: an earlier measurement, a job that is under way, or a job of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.fleet.device import HardwareProfile
from server.jobs.job import Job
from server.jobs.settings import SearchSettings
from server.latency_tables.batch import Batch, BatchEntry
from server.latency_tables.progress import measured_entry, observed
from server.latency_tables.store import BatchStore
from server.measuring.evidence import find_reusable
from server.measuring.measurement import MeasurementRecord
from server.measuring.network_orders import NetworkOrder, queue_network
from server.measuring.orders import profiles_from
from server.measuring.payloads import OperatorDocument
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
        spec = batch.spec
        order = NetworkOrder(
            source=network.source,
            latency_key=network.entry.latency_key,
            arch_id=network.entry.arch_id,
            label=network.label,
            device=spec.device,
            measurement=spec.measurement,
            priority=spec.priority,
            owner=batch.owner,
            purpose="batch",
            accepts=_would_take(batch),
        )
        return queue_network(tx, order, profile, self._settings.max_evaluation_attempts)


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
