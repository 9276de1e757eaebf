"""How candidates finish and how the generation barrier opens. Shared by every use case that ends work of a search.

Everything here runs inside the caller's transaction, on searches the caller has locked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measuring.paired import CorrectAnswers
from nas_engine.domain.metric import Metric
from nas_engine.domain.metrics import LATENCY_US, is_searched
from server.candidates.candidate import CANCELLED_WITH_SEARCH, Candidate, Evaluation
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.payloads import SearchStepPayload
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.states import (
    CANDIDATE_TRANSITIONS,
    SEARCH_TRANSITIONS,
    CandidateState,
    DesiredState,
    SearchState,
)
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.transitions import check_transition
from server.fleet.sharing.sharing import standing
from server.jobs.completion import stop_job
from server.jobs.job import Job, NewJob
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind


def lock_searches(tx: Transaction, ids: Iterable[str | None]) -> dict[str, Search]:
    """Lock searches in id order, so that two transactions cannot wait for each other."""
    return {
        search_id: SearchStore(tx).lock_search(search_id) for search_id in sorted({i for i in ids if i is not None})
    }


def affected_searches(tx: Transaction, job: Job) -> dict[str, Search]:
    """Lock every search that the end of this job concerns: its own, and those that await the same measurement."""
    ids = {job.search_id}
    if job.latency_key is not None and job.hardware_key is not None:
        ids |= {a.search_id for a in EvaluationStore(tx).awaited_evaluations_under(job.latency_key, job.hardware_key)}
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
    EventStore(tx).append_event(NewEvent(type=EventType.STATE, payload=payload, search_id=search.id))
    return SearchStore(tx).save_search(changed)


def finish_candidate(
    tx: Transaction, search: Search, candidate: Candidate, state: CandidateState, reason: str = ""
) -> Search:
    """Move a candidate of a locked search to a final state; returns the search with its counts.

    What it did not need to be complete still comes, where it is.
    """
    check_transition("candidate", candidate.id, CANDIDATE_TRANSITIONS, candidate.state, state)
    is_complete = state is CandidateState.COMPLETE
    EvaluationStore(tx).settle_awaited_of_candidate(candidate.id, needed_only=is_complete)
    ended = replace(candidate, state=state, reason=reason, finished_at=tx.now())
    CandidateStore(tx).save_candidate(ended)
    EventStore(tx).append_event(candidate_event(ended, search.spec.own_metrics()))
    progress = search.progress
    match state:
        case CandidateState.COMPLETE:
            progress = replace(progress, num_complete=progress.num_complete + 1)
        case CandidateState.INFEASIBLE:
            progress = replace(progress, num_infeasible=progress.num_infeasible + 1)
        case _ if ended.is_cancelled:
            progress = replace(progress, num_cancelled=progress.num_cancelled + 1)
        case _:
            progress = replace(progress, num_failed=progress.num_failed + 1)
    return SearchStore(tx).save_search(replace(search, progress=progress))


def candidate_event(candidate: Candidate, own_metrics: Collection[Metric] = ()) -> NewEvent:
    """Build the event that announces a finished candidate; its search declares `own_metrics` itself."""
    latency = candidate.current.get(LATENCY_US)
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
            "latency_flags": [flag.value for flag in latency.flags] if latency is not None else [],
            **{
                metric.name: value
                for metric, value in candidate.values.items()
                if metric in own_metrics or is_searched(metric)
            },
        },
    )


def record_value(
    tx: Transaction,
    search: Search,
    candidate: Candidate,
    evaluation: Evaluation,
    answers: CorrectAnswers | None = None,
) -> Search:
    """Store an evaluation of a candidate of a locked search; completes the candidate when it was the last awaited.

    A repeated evaluation (same metric and attempt) changes nothing. `answers` are those behind an accuracy.
    """
    if not EvaluationStore(tx).add_evaluation(evaluation, answers=answers):
        return search
    EvaluationStore(tx).settle_awaited(candidate.id, evaluation.metric)
    updated = candidate.with_value(evaluation.known)
    CandidateStore(tx).save_candidate(updated)
    awaited = EvaluationStore(tx).awaited_evaluations_of(candidate.id)
    if not updated.state.final and not any(one.is_needed for one in awaited):
        return finish_candidate(tx, search, updated, CandidateState.COMPLETE)
    return search


def drop_needs(tx: Transaction, search: Search) -> Search:
    """Complete the candidates of a locked search that wait only for boards which its amended spec does not need."""
    needed = search.spec.needed_boards()
    unneeded = [board.metric for board in search.spec.all_boards() if board not in needed]
    EvaluationStore(tx).await_aside(search.id, unneeded)
    for candidate in CandidateStore(tx).unfinished_candidates(search.id):
        if not any(one.is_needed for one in EvaluationStore(tx).awaited_evaluations_of(candidate.id)):
            search = finish_candidate(tx, search, candidate, CandidateState.COMPLETE)
    return search


def advance(tx: Transaction, search: Search, settings: SearchSettings) -> Search:
    """Open the generation barrier of a locked search: pause it, or queue its next step.

    It stands while an evaluation is awaited, or a job of the search as a whole is unfinished: its step, or a
    long-running job that a step ordered. (Jobs for one of its candidates are awaited evaluations.)
    """
    if (
        search.state not in (SearchState.RUNNING, SearchState.DRAINING)
        or EvaluationStore(tx).num_awaited_evaluations(search.id) > 0
    ):
        return search
    if any(job.candidate_id is None for job in JobStore(tx).active_jobs_of_search(search.id)):
        return search
    if search.desired_state is DesiredState.PAUSED:
        return set_search_state(tx, search, SearchState.PAUSED)
    seq = search.checkpoint_seq + 1
    JobStore(tx).add_job(
        NewJob(
            kind=JobKind.SEARCH_STEP,
            payload=SearchStepPayload(search_id=search.id, seq=seq).to_json(),
            dedupe_key=f"step:{search.id}:{seq}",
            priority=search.spec.priority + settings.step_priority,
            max_attempts=settings.max_step_attempts,
            search_id=search.id,
            owner=search.owner,
        )
    )
    tx.wake(Topic.WORKER_JOBS)
    return search


def end_search(tx: Transaction, search: Search, state: SearchState, reason: str) -> Search:
    """End a locked search: its jobs are stopped or reassigned, its unfinished candidates end as FAILED or cancelled.

    Of one that is completed, measurements that none of its candidates needed go on: the board may be away.
    """
    why = CANCELLED_WITH_SEARCH if state is SearchState.CANCELLED else f"the search was {state.value}"
    EvaluationStore(tx).settle_awaited_of_search(search.id, needed_only=state is SearchState.COMPLETED)
    for job in JobStore(tx).active_jobs_of_search(search.id):
        if not _reassign(tx, job) and not _awaited_by(tx, job):
            stop_job(tx, job.id)
    for candidate in CandidateStore(tx).unfinished_candidates(search.id):
        search = finish_candidate(tx, search, candidate, CandidateState.FAILED, why)
    return set_search_state(tx, search, state, reason)


def end_candidate(tx: Transaction, search: Search, candidate: Candidate, state: CandidateState, reason: str) -> Search:
    """End a candidate of a locked search that will not complete: what still runs for it is stopped or reassigned.

    Its jobs are locked before the candidate, as a claim does.
    """
    for job in JobStore(tx).active_jobs_of_search(search.id):
        if job.candidate_id == candidate.id and not _reassign(tx, job, to_own_search=True):
            stop_job(tx, job.id)
    return finish_candidate(tx, search, candidate, state, reason)


def _awaited_by(tx: Transaction, job: Job) -> bool:
    """Whether a candidate of its own search awaits the measurement of a job."""
    if job.latency_key is None or job.hardware_key is None:
        return False
    awaited = EvaluationStore(tx).awaited_evaluations_under(job.latency_key, job.hardware_key)
    return any(one.search_id == job.search_id for one in awaited)


def _reassign(tx: Transaction, job: Job, *, to_own_search: bool = False) -> bool:
    """Give a measurement that another search waits for to that search, or to another candidate of its own."""
    if job.latency_key is None or job.hardware_key is None:
        return False
    heirs = [
        (SearchStore(tx).get_search(awaited.search_id), awaited.candidate_id)
        for awaited in EvaluationStore(tx).awaited_evaluations_under(job.latency_key, job.hardware_key)
        if awaited.search_id != job.search_id or (to_own_search and awaited.candidate_id != job.candidate_id)
    ]
    if not heirs:
        return False
    # The first, unless boards are closed to its owner and open to another's.
    several = len({heir.owner for heir, _ in heirs}) > 1
    heir, candidate_id = max(heirs, key=lambda one: standing(tx, job.target, one[0].owner)) if several else heirs[0]
    JobStore(tx).assign_job_to(job.id, heir.id, candidate_id, heir.spec.priority, heir.owner)
    return True


def stop_unwanted(tx: Transaction, latency_key: str, hardware_key: str) -> None:
    """Stop jobs under a key that no candidate awaits any more (another job brought the number first)."""
    if EvaluationStore(tx).awaited_evaluations_under(latency_key, hardware_key):
        return
    for job in JobStore(tx).active_jobs_under(latency_key, hardware_key):
        if job.candidate_id is not None:
            stop_job(tx, job.id)
