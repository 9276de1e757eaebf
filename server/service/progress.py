"""How candidates finish and how the generation barrier opens. Shared by every use case that ends work of a search.

Everything here runs inside the caller's transaction, on searches the caller has locked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import Validity, ValidityPolicy
from nas_engine.domain.objective import Metric
from server.service.ids import IdPrefix, new_id
from server.service.ports.unit_of_work import Topic, Transaction
from server.service.settings import SearchSettings
from server.service.states import (
    CANDIDATE_TRANSITIONS,
    SEARCH_TRANSITIONS,
    SEARCH_WORK_KINDS,
    CandidateState,
    DesiredState,
    EvaluationSource,
    JobKind,
    MeasurementKind,
    SearchState,
    check_transition,
)
from server.service.values.candidate import Candidate, Evaluation
from server.service.values.event import EventType, NewEvent
from server.service.values.job import Job, NewJob
from server.service.values.measurement import MeasurementRecord
from server.service.values.payloads import SearchStepPayload
from server.service.values.search import Search

PROFILES = ("quick", "standard", "audit")
"""Measurement profiles, least thorough first."""


def profiles_from(profile: str) -> tuple[str, ...]:
    """The profiles that are at least as thorough as `profile`."""
    return PROFILES[PROFILES.index(profile) :]


def lock_searches(tx: Transaction, ids: Iterable[str | None]) -> dict[str, Search]:
    """Lock searches in id order, so that two transactions cannot wait for each other."""
    return {search_id: tx.searches.lock(search_id) for search_id in sorted({i for i in ids if i is not None})}


def affected_searches(tx: Transaction, job: Job) -> dict[str, Search]:
    """Lock every search that the end of this job concerns: its own, and those that await the same measurement."""
    ids = {job.search_id}
    if job.latency_key is not None and job.hardware_key is not None:
        ids |= {a.search_id for a in tx.evaluations.awaited_under(job.latency_key, job.hardware_key)}
    return lock_searches(tx, ids)


def set_search_state(tx: Transaction, search: Search, state: SearchState, reason: str = "") -> Search:
    """Move a locked search to another state, with its event.

    Raises:
        InvalidStateTransitionError: the state machine has no such step.
    """
    check_transition("search", search.id, SEARCH_TRANSITIONS, search.state, state)
    now = tx.now()
    changed = replace(
        search,
        state=state,
        reason=reason,
        started_at=search.started_at or (now if state is SearchState.RUNNING else None),
        finished_at=now if state.final else None,
    )
    payload: dict[str, JsonValue] = {
        "state": state.value,
        "desired_state": search.desired_state.value,
        "reason": reason,
    }
    tx.events.append(NewEvent(type=EventType.STATE, payload=payload, search_id=search.id))
    return tx.searches.save(changed)


def finish_candidate(
    tx: Transaction, search: Search, candidate: Candidate, state: CandidateState, reason: str = ""
) -> Search:
    """Move a candidate of a locked search to a final state; returns the search with its counts."""
    check_transition("candidate", candidate.id, CANDIDATE_TRANSITIONS, candidate.state, state)
    tx.evaluations.settle_candidate(candidate.id)
    ended = replace(candidate, state=state, reason=reason, finished_at=tx.now())
    tx.candidates.save(ended)
    tx.events.append(candidate_event(ended))
    progress = search.progress
    match state:
        case CandidateState.COMPLETE:
            progress = replace(progress, num_complete=progress.num_complete + 1)
        case CandidateState.INFEASIBLE:
            progress = replace(progress, num_infeasible=progress.num_infeasible + 1)
        case _:
            progress = replace(progress, num_failed=progress.num_failed + 1)
    return tx.searches.save(replace(search, progress=progress))


def candidate_event(candidate: Candidate) -> NewEvent:
    """What is told of a finished candidate."""
    return NewEvent(
        type=EventType.CANDIDATE,
        search_id=candidate.search_id,
        payload={
            "candidate_id": candidate.id,
            "seq": candidate.seq,
            "generation": candidate.generation,
            "arch_id": candidate.arch_id,
            "state": candidate.state.value,
            "reason": candidate.reason,
            "latency_flags": [flag.value for flag in candidate.latency_flags],
            **{metric.label: value for metric, value in candidate.values.items()},
        },
    )


def record_value(
    tx: Transaction, search: Search, candidate: Candidate, evaluation: Evaluation, flags: tuple[Validity, ...] = ()
) -> Search:
    """Store an evaluation of a candidate of a locked search; completes the candidate when it was the last awaited.

    A repeated evaluation (same metric and attempt) changes nothing.
    """
    if not tx.evaluations.add(evaluation):
        return search
    tx.evaluations.settle(candidate.id, evaluation.metric)
    match evaluation.metric:
        case Metric.TOP1:
            updated = replace(candidate, top1=evaluation.value)
        case Metric.TEST_TOP1:
            updated = replace(candidate, test_top1=evaluation.value)
        case Metric.DEVICE_TOP1:
            updated = replace(candidate, device_top1=evaluation.value)
        case Metric.LATENCY_US:
            updated = replace(candidate, latency_us=evaluation.value, latency_flags=flags)
        case _:
            updated = candidate
    tx.candidates.save(updated)
    if not updated.state.final and not tx.evaluations.awaited_of(candidate.id):
        return finish_candidate(tx, search, updated, CandidateState.COMPLETE)
    return search


def record_latency(
    tx: Transaction,
    search: Search,
    candidate: Candidate,
    measurement: MeasurementRecord,
    source: EvaluationSource,
    attempt: int,
) -> Search:
    """Give a candidate the p50 of a measurement as its latency; that of a simulator is labelled so."""
    if source is EvaluationSource.MEASURED and measurement.kind is MeasurementKind.SIMULATED:
        source = EvaluationSource.SIMULATED
    evaluation = Evaluation(
        id=new_id(IdPrefix.EVALUATION),
        search_id=search.id,
        candidate_id=candidate.id,
        metric=Metric.LATENCY_US,
        value=measurement.stats.p50_us,
        uncertainty=measurement.standard_error_us,
        validity=measurement.validity,
        source=source,
        attempt=attempt,
        measurement_id=measurement.id,
        created_at=tx.now(),
    )
    flags = tuple(flag.validity for flag in measurement.flags)
    return record_value(tx, search, candidate, evaluation, flags)


def serves(search: Search, measurement: MeasurementRecord) -> bool:
    """Whether a measurement may steer a search: same hardware, thorough enough, trustworthy enough."""
    policy = ValidityPolicy(search.spec.measurement.validity_policy)
    return (
        search.hardware_key == measurement.hardware_key
        and measurement.profile in profiles_from(search.spec.measurement.profile)
        and policy.accepts(measurement.flags)
        and not measurement.suspect
    )


def advance(tx: Transaction, search: Search, settings: SearchSettings) -> Search:
    """Open the generation barrier of a locked search: pause it, or queue its next step.

    It stands while an evaluation is awaited, or heavy work that a step ordered is under way.
    """
    if search.state not in (SearchState.RUNNING, SearchState.DRAINING) or tx.evaluations.num_awaited(search.id) > 0:
        return search
    if any(job.kind in SEARCH_WORK_KINDS for job in tx.jobs.active_of_search(search.id)):
        return search
    if search.desired_state is DesiredState.PAUSED:
        return set_search_state(tx, search, SearchState.PAUSED)
    seq = search.checkpoint_seq + 1
    tx.jobs.add(
        NewJob(
            kind=JobKind.SEARCH_STEP,
            payload=SearchStepPayload(search_id=search.id, seq=seq).to_json(),
            dedupe_key=f"step:{search.id}:{seq}",
            priority=search.spec.priority + settings.step_priority,
            max_attempts=settings.max_step_attempts,
            search_id=search.id,
        )
    )
    tx.wake(Topic.WORKER_JOBS)
    return search
