"""What the end of a job means for the candidates and searches that waited for it: hooks of the job kinds."""

from __future__ import annotations

from collections.abc import Callable

from nas_engine.domain.metric import Metric
from nas_engine.domain.plugins.doors import Door
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.lifecycle import advance, affected_searches, end_candidate, end_search
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.states import CandidateState, SearchState
from server.candidates.used_plugins import in_words
from server.core.database.transaction import Transaction, UnitOfWork
from server.jobs.failures import Failure, FinalFailure
from server.jobs.job import Job
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings


def brought_to_search(tx: Transaction, job: Job, *doors: Door) -> str:
    """In words, what other packages bring through these doors to the search of a job; empty where nothing."""
    if job.search_id is None:
        return ""
    return in_words([one for one in SearchStore(tx).get_search(job.search_id).plugins if one.door in doors])


def mark_evaluating(tx: Transaction, job: Job) -> None:
    """The candidate of a claimed job counts as EVALUATING from now on."""
    if job.candidate_id is not None:
        CandidateStore(tx).mark_candidate_evaluating(job.candidate_id)


def fail_awaited(
    tx: Transaction,
    job: Job,
    failure: FinalFailure,
    settings: SearchSettings,
    would_have_served: Callable[[Search, Metric], bool] | None = None,
) -> None:
    """End every candidate that awaited a latency of this job: INFEASIBLE by its own fault, else FAILED.

    One that does not need it goes on without.

    Args:
        would_have_served: whether another search than the job's own would have taken its result as this metric; None
            for always.
    """
    # A job of no search (of a latency table, or of a user's own model) never was what a candidate waits for.
    if job.search_id is None or job.latency_key is None or job.hardware_key is None:
        return
    searches = affected_searches(tx, job)
    state = CandidateState.INFEASIBLE if failure.blames_model else CandidateState.FAILED
    for awaited in EvaluationStore(tx).awaited_evaluations_under(job.latency_key, job.hardware_key):
        search = searches[awaited.search_id]
        # Its own search has the result as nothing else, where it has no further boards.
        is_own = job.search_id == search.id and not search.spec.boards
        if not (would_have_served is None or is_own or would_have_served(search, awaited.metric)):
            continue
        # What else a complete candidate awaits, such as a re-measurement on another board, is none of this job's.
        if not awaited.is_needed or CandidateStore(tx).get_candidate(awaited.candidate_id).state.final:
            EvaluationStore(tx).settle_awaited(awaited.candidate_id, awaited.metric)
        else:
            searches[search.id] = _end_candidate(tx, search, awaited.candidate_id, state, failure)
    for search in searches.values():
        advance(tx, search, settings)


def fail_evaluation(
    tx: Transaction,
    job: Job,
    failure: Failure,
    settings: SearchSettings,
    state: CandidateState = CandidateState.FAILED,
) -> None:
    """End the candidate whose accuracy, or external metrics, a job was to find; as FAILED, unless said otherwise."""
    if job.search_id is None or job.candidate_id is None:
        return
    search = affected_searches(tx, job)[job.search_id]
    advance(tx, _end_candidate(tx, search, job.candidate_id, state, failure), settings)


def fail_search(tx: Transaction, job: Job, failure: Failure, what: str) -> None:
    """End the search that cannot go on without this job as FAILED.

    Args:
        what: names the job for people, e.g. "a search step".
    """
    if job.search_id is None:
        return
    search = SearchStore(tx).lock_search(job.search_id)
    if not search.state.final:
        end_search(tx, search, SearchState.FAILED, f"{what} failed: {failure.type.value}: {failure.message}")


def queue_missing_steps(uow: UnitOfWork, settings: SearchSettings) -> int:
    """Queue the step of every running search that waits for nothing and has none; returns how many."""

    def reopen(tx: Transaction, search_id: str) -> int:
        search = SearchStore(tx).lock_search(search_id)
        if any(job.candidate_id is None for job in JobStore(tx).active_jobs_of_search(search_id)):
            return 0
        if EvaluationStore(tx).num_awaited_evaluations(search_id) > 0:
            return 0
        advance(tx, search, settings)
        return 1

    running = (SearchState.RUNNING, SearchState.DRAINING)
    searches = uow.read(lambda tx: SearchStore(tx).searches_in_states(running))
    return sum(uow.write(lambda tx, i=search.id: reopen(tx, i)) for search in searches)  # type: ignore[misc]


def _end_candidate(
    tx: Transaction, search: Search, candidate_id: str, state: CandidateState, failure: Failure
) -> Search:
    candidate = CandidateStore(tx).get_candidate(candidate_id)
    if candidate.state.final:  # a re-evaluation failed: the candidate keeps what it has
        EvaluationStore(tx).settle_awaited_of_candidate(candidate_id, needed_only=True)
        return search
    return end_candidate(tx, search, candidate, state, f"{failure.type.value}: {failure.message}")
