"""What latency tables and reports have in common: what is left to order, how they end, how they are cancelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidStateTransitionError
from server.core.events import EventStore, EventType, NewEvent
from server.fleet.store import HardwareStore
from server.jobs.cancellation import stop_job
from server.jobs.queue import JobStore
from server.latency_tables.batch import Batch, BatchEntry, BatchState, EntryState
from server.latency_tables.ordering import BatchScheduler, NetworkToMeasure
from server.latency_tables.progress import current_batch, current_entries
from server.latency_tables.store import BatchStore
from server.measuring.store import MeasurementStore

ToNetworks = Callable[[Transaction, Sequence[BatchEntry]], Sequence[NetworkToMeasure]]
"""Says of entries what their model files are made of."""


def set_batch_state(tx: Transaction, batch: Batch, state: BatchState, reason: str = "") -> Batch:
    """Move a locked batch to another state, with its event; its id stands where events of searches have theirs."""
    changed = replace(batch, state=state, reason=reason, finished_at=tx.now() if state.final else None)
    EventStore(tx).append_event(
        NewEvent(type=EventType.STATE, payload={"state": state.value, "reason": reason}, search_id=batch.id)
    )
    return BatchStore(tx).save_batch(changed)


def order_what_is_missing(tx: Transaction, batch: Batch, scheduler: BatchScheduler, to_networks: ToNetworks) -> None:
    """Order every entry of a locked, running batch that has no job yet, or whose measurement became suspect."""
    entries = current_entries(tx, batch)
    measured = MeasurementStore(tx).get_many({e.measurement_id for e in entries if e.measurement_id is not None})
    suspect = {one.id for one in measured.values() if one.suspect}
    missing = [
        replace(entry, state=EntryState.QUEUED, job_id=None, latency_us=None, flags=(), measurement_id=None)
        for entry in entries
        if entry.measurement_id in suspect or (entry.job_id is None and not entry.state.final)
    ]
    if missing:
        profile = HardwareStore(tx).get_hardware(batch.hardware_key)
        for entry in scheduler.order(tx, batch, profile, to_networks(tx, missing)):
            BatchStore(tx).save_batch_entry(entry)


def end_if_done(tx: Transaction, batch: Batch) -> Batch:
    """Write down what became of every entry of a locked batch, once all have ended."""
    entries = current_entries(tx, batch)
    current = current_batch(batch, entries)
    if batch.state.final or not current.state.final:
        return current
    for entry in entries:
        BatchStore(tx).save_batch_entry(entry)
    return set_batch_state(tx, current, current.state, batch.reason)


class Batches:
    """Use cases that do not tell tables from reports."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def find(self, batch_id: str) -> Batch | None:
        """A table or report as it is stored; None where there is none."""
        return self._uow.read(lambda tx: BatchStore(tx).find_batch(batch_id))

    def cancel(self, batch_id: str) -> Batch:
        """Stop a table or report: its jobs are stopped, unless another one waits for the same.

        What was measured stays. Cancelling twice changes nothing.

        Raises:
            NotFoundError: there is no such table or report.
            InvalidStateTransitionError: it is completed or failed.
        """

        def work(tx: Transaction) -> Batch:
            batch = BatchStore(tx).lock_batch(batch_id)
            if batch.state is BatchState.CANCELLED:
                return batch
            batch = end_if_done(tx, batch)
            if batch.state.final:
                raise InvalidStateTransitionError(
                    "latency table", batch.id, batch.state.value, BatchState.CANCELLED.value, ()
                )
            for entry in current_entries(tx, batch):
                if not entry.state.final:
                    _stop_jobs(tx, batch, entry)
                    entry = replace(entry, state=EntryState.FAILED, reason="cancelled by a user")
                BatchStore(tx).save_batch_entry(entry)
            return set_batch_state(tx, batch, BatchState.CANCELLED, "cancelled by a user")

        return self._uow.write(work)


def _stop_jobs(tx: Transaction, batch: Batch, entry: BatchEntry) -> None:
    if entry.job_id is None:
        return
    waiting = BatchStore(tx).batch_entries_waiting_for(entry.latency_key, batch.hardware_key)
    if any(other.batch_id != batch.id and other.job_id == entry.job_id for other in waiting):
        return
    job = JobStore(tx).get_job(entry.job_id)
    match job.result:
        case {"next_job_id": str(next_id)}:
            stop_job(tx, next_id)
        case _:
            stop_job(tx, job.id)
