"""What latency tables and reports have in common: what is left to order, how they end, how they are cancelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidStateTransitionError
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.fleet.store import HardwareStore
from server.jobs.completion import stop_job
from server.jobs.job import Job
from server.jobs.queue import JobStore
from server.jobs.states import JobState
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
    """Write down how every entry ended of a locked batch, once all have ended."""
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

    def pause(self, batch_id: str) -> Batch:
        """Give out no more jobs of a table or report; those that a board or worker holds go on.

        Raises:
            NotFoundError: there is no such table or report.
            InvalidStateTransitionError: it is over.
        """

        def work(tx: Transaction) -> Batch:
            batch = _locked(tx, batch_id, BatchState.PAUSED)
            if batch.state is BatchState.PAUSED:
                return batch
            for entry in current_entries(tx, batch):
                job = None if entry.state.final else _current_job(tx, entry)
                if job is not None and job.state is JobState.QUEUED and not _is_shared(tx, batch, entry):
                    stop_job(tx, job.id)
                    BatchStore(tx).save_batch_entry(replace(entry, state=EntryState.QUEUED, job_id=None))
            return set_batch_state(tx, batch, BatchState.PAUSED)

        return self._uow.write(work)

    def resume(self, batch_id: str) -> Batch:
        """Go on where a pause stopped: `BatchKeeper` orders what is missing. Raises as `pause`."""

        def work(tx: Transaction) -> Batch:
            batch = _locked(tx, batch_id, BatchState.RUNNING)
            return batch if batch.state is BatchState.RUNNING else set_batch_state(tx, batch, BatchState.RUNNING)

        return self._uow.write(work)

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
            batch = _locked(tx, batch_id, BatchState.CANCELLED)
            for entry in current_entries(tx, batch):
                if not entry.state.final:
                    job = _current_job(tx, entry)
                    if job is not None and not _is_shared(tx, batch, entry):
                        stop_job(tx, job.id)
                    entry = replace(entry, state=EntryState.FAILED, reason="cancelled by a user")
                BatchStore(tx).save_batch_entry(entry)
            return set_batch_state(tx, batch, BatchState.CANCELLED, "cancelled by a user")

        return self._uow.write(work)


def _locked(tx: Transaction, batch_id: str, wanted: BatchState) -> Batch:
    batch = end_if_done(tx, BatchStore(tx).lock_batch(batch_id))
    if batch.state.final:
        raise InvalidStateTransitionError("latency table", batch.id, batch.state.value, wanted.value, ())
    return batch


def _current_job(tx: Transaction, entry: BatchEntry) -> Job | None:
    """The conversion or the measuring job that an entry waits for now."""
    if entry.job_id is None:
        return None
    job = JobStore(tx).get_job(entry.job_id)
    next_id = job.id_in_result("next_job_id")
    return job if next_id is None else JobStore(tx).get_job(next_id)


def _is_shared(tx: Transaction, batch: Batch, entry: BatchEntry) -> bool:
    """Whether another batch waits for the same job."""
    waiting = BatchStore(tx).batch_entries_waiting_for(entry.latency_key, batch.hardware_key)
    return any(other.batch_id != batch.id and other.job_id == entry.job_id for other in waiting)
