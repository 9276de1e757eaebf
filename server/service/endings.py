"""How searches, supernets and devices are stopped: everything that hangs on them is stopped in the same transaction."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.domain.json_value import JsonValue
from server.service.ports.unit_of_work import Topic, Transaction
from server.service.progress import finish_candidate, set_search_state
from server.service.states import (
    DEVICE_TRANSITIONS,
    SUPERNET_TRANSITIONS,
    CandidateState,
    DeviceState,
    JobState,
    LeaseOutcome,
    SearchState,
    SupernetState,
    check_transition,
)
from server.service.values.candidate import Candidate
from server.service.values.device import Device
from server.service.values.event import EventType, NewEvent
from server.service.values.job import Job
from server.service.values.search import Search


def cancel_job(tx: Transaction, job: Job) -> None:
    """End a locked job as CANCELLED. Nobody waits for a cancelled job."""
    if job.lease is not None:
        tx.jobs.end_lease(job.lease, LeaseOutcome.CANCELLED, None, None)
    tx.jobs.finish(replace(job, state=JobState.CANCELLED, phase=None, lease_expires_at=None, finished_at=tx.now()))


def stop_job(tx: Transaction, job_id: str) -> None:
    """Cancel a queued job; have the holder of a leased one told to stop."""
    job = tx.jobs.lock(job_id)
    match job.state:
        case JobState.QUEUED:
            cancel_job(tx, job)
        case JobState.LEASED:
            tx.jobs.request_cancel(job.id)
        case _:
            pass


def end_search(tx: Transaction, search: Search, state: SearchState, reason: str) -> Search:
    """End a locked search: its jobs are stopped or handed on, its unfinished candidates end as FAILED."""
    tx.evaluations.settle_search(search.id)
    for job in tx.jobs.active_of_search(search.id):
        if not _hand_on(tx, job):
            stop_job(tx, job.id)
    for candidate in tx.candidates.unfinished(search.id):
        search = finish_candidate(tx, search, candidate, CandidateState.FAILED, f"the search was {state.value}")
    return set_search_state(tx, search, state, reason)


def end_candidate(tx: Transaction, search: Search, candidate: Candidate, state: CandidateState, reason: str) -> Search:
    """End a candidate of a locked search that will not complete: what still runs for it is stopped or handed on.

    Its jobs are locked before the candidate, as a claim does.
    """
    for job in tx.jobs.active_of_search(search.id):
        if job.candidate_id == candidate.id and not _hand_on(tx, job, to_own_search=True):
            stop_job(tx, job.id)
    return finish_candidate(tx, search, candidate, state, reason)


def _hand_on(tx: Transaction, job: Job, *, to_own_search: bool = False) -> bool:
    """Give a measurement that another search waits for to that search, or to another candidate of its own."""
    if job.latency_key is None or job.hardware_key is None:
        return False
    for awaited in tx.evaluations.awaited_under(job.latency_key, job.hardware_key):
        if awaited.search_id != job.search_id or (to_own_search and awaited.candidate_id != job.candidate_id):
            heir = tx.searches.get(awaited.search_id)
            tx.jobs.assign_to(job.id, heir.id, awaited.candidate_id, heir.spec.priority)
            return True
    return False


def stop_unwanted(tx: Transaction, latency_key: str, hardware_key: str) -> None:
    """Stop jobs under a key that no candidate awaits any more (another job brought the number first)."""
    if tx.evaluations.awaited_under(latency_key, hardware_key):
        return
    for job in tx.jobs.active_under(latency_key, hardware_key):
        if job.candidate_id is not None:
            stop_job(tx, job.id)


def end_supernet(tx: Transaction, supernet_id: str, state: SupernetState, reason: str) -> None:
    """End a supernet, its jobs, and the searches that wait for its first version."""
    supernet = tx.supernets.lock(supernet_id)
    check_transition("supernet", supernet.id, SUPERNET_TRANSITIONS, supernet.state, state)
    tx.supernets.save(replace(supernet, state=state, reason=reason, finished_at=tx.now()))
    payload: dict[str, JsonValue] = {"state": state.value, "reason": reason}
    tx.events.append(NewEvent(type=EventType.SUPERNET, payload=payload, supernet_id=supernet_id))
    for job in tx.jobs.active_of_supernet(supernet_id):
        stop_job(tx, job.id)
    for waiting in tx.searches.waiting_for(supernet_id):
        if waiting.supernet_version_id is None:
            locked = tx.searches.lock(waiting.id)
            end_search(tx, locked, SearchState.FAILED, f"supernet {supernet_id} ended as {state.value}: {reason}")


def set_device_state(tx: Transaction, device: Device, state: DeviceState, reason: str) -> Device:
    """Move a locked device to another state, with its event.

    Raises:
        InvalidStateTransitionError: the state machine has no such step.
    """
    check_transition("device", device.id, DEVICE_TRANSITIONS, device.state, state)
    failures = 0 if state is DeviceState.ACTIVE else device.num_failures_in_a_row
    payload: dict[str, JsonValue] = {"name": device.name, "state": state.value, "reason": reason}
    tx.events.append(NewEvent(type=EventType.DEVICE, payload=payload, device_id=device.id))
    tx.wake(Topic.DEVICE_JOBS)
    return tx.devices.save(replace(device, state=state, reason=reason, num_failures_in_a_row=failures))
