"""Where the entries of a running batch stand: read from their jobs, so that nothing can be lost or counted twice.

An entry keeps the first of its jobs alone. A conversion names the measuring job that follows it in its result, and
that names the measurement in its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from server.core.database.transaction import Transaction
from server.jobs.failures import policy_of
from server.jobs.job import Job
from server.jobs.queue import JobStore
from server.jobs.states import JobState
from server.latency_tables.batch import Batch, BatchEntry, BatchState, EntryState
from server.latency_tables.store import BatchStore
from server.measuring.measurement import MeasurementRecord
from server.measuring.store import MeasurementStore


def current_entries(tx: Transaction, batch: Batch) -> tuple[BatchEntry, ...]:
    """The entries of a batch as they stand now, by number."""
    return observed(tx, BatchStore(tx).batch_entries(batch.id))


def current_batch(batch: Batch, entries: Sequence[BatchEntry]) -> Batch:
    """A batch as it stands now, given its entries as they stand now; COMPLETED where nothing is left to do."""
    if batch.state.final:
        return batch
    ended = len(entries) >= batch.num_entries and all(entry.state.final for entry in entries)
    num_measured = sum(entry.state is EntryState.MEASURED for entry in entries)
    return replace(batch, num_measured=num_measured, state=BatchState.COMPLETED if ended else batch.state)


def observed(tx: Transaction, entries: Sequence[BatchEntry]) -> tuple[BatchEntry, ...]:
    """Entries with what their jobs have come to."""
    first = JobStore(tx).get_many({e.job_id for e in entries if e.job_id is not None and not e.state.final})
    following = JobStore(tx).get_many(_named(first.values(), "next_job_id"))
    measured = MeasurementStore(tx).get_many(_named([*first.values(), *following.values()], "measurement_id"))
    return tuple(
        entry
        if entry.state.final or entry.job_id is None or entry.job_id not in first
        else _after(entry, first[entry.job_id], following, measured)
        for entry in entries
    )


def measured_entry(entry: BatchEntry, measurement: MeasurementRecord) -> BatchEntry:
    """An entry with the latency that a measurement gives it."""
    return replace(
        entry,
        state=EntryState.MEASURED,
        latency_us=measurement.stats.p50_us,
        flags=tuple(flag.validity for flag in measurement.flags),
        measurement_id=measurement.id,
    )


def _after(
    entry: BatchEntry, job: Job, following: Mapping[str, Job], measured: Mapping[str, MeasurementRecord]
) -> BatchEntry:
    match job.state:
        case JobState.QUEUED:
            return entry
        case JobState.LEASED:
            return replace(entry, state=EntryState.UNDER_WAY)
        case JobState.FAILED:
            return _failed(entry, job)
        case JobState.CANCELLED:
            return replace(entry, state=EntryState.FAILED, reason=f"job {job.id} was cancelled")
        case JobState.DONE:
            match job.result:
                case {"next_job_id": str(next_id)} if next_id in following:
                    found = _after(entry, following[next_id], {}, measured)
                    # Its model file is there: it waits for a board.
                    return replace(found, state=EntryState.UNDER_WAY) if found.state is EntryState.QUEUED else found
                case {"measurement_id": str(measurement_id)} if measurement_id in measured:
                    return measured_entry(entry, measured[measurement_id])
                case other:
                    reason = f"job {job.id} ended with {other!r}, which names no measurement"
                    return replace(entry, state=EntryState.FAILED, reason=reason)


def _failed(entry: BatchEntry, job: Job) -> BatchEntry:
    """The architecture is at fault where its failure is blamed on the model and trying again would not have helped."""
    if job.failure_type is None:
        return replace(entry, state=EntryState.FAILED, reason=job.failure_message)
    policy = policy_of(job.failure_type)
    gave_up_early = not policy.retryable or job.attempt < job.max_attempts
    state = EntryState.REJECTED if policy.penalise_model and gave_up_early else EntryState.FAILED
    return replace(entry, state=state, reason=f"{job.failure_type.value}: {job.failure_message}")


def _named(jobs: Iterable[Job], key: str) -> set[str]:
    """Ids that the results of jobs name under a key."""
    return {id for job in jobs if (id := job.id_in_result(key)) is not None}
