"""The kinds of jobs of searches: their steps, what a step orders for the search as a whole, and accuracies."""

from __future__ import annotations

from nas_engine.domain.plugins.doors import Door
from server.candidates.completion import (
    brought_to_search,
    fail_evaluation,
    fail_search,
    mark_evaluating,
    queue_missing_steps,
)
from server.candidates.lifecycle import advance, affected_searches
from server.candidates.payloads import DerivePayload, EvaluatePayload, SearchStepPayload, ShiftPayload, TrialPayload
from server.candidates.search_store import SearchStore
from server.candidates.states import CandidateState
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.jobs.completion import stop_job
from server.jobs.failures import FinalFailure
from server.jobs.job import Job
from server.jobs.registry import FIT_LANE, HEAVY_LANE, SHORT_LANE, Executor, KindOfJob
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind, JobState
from server.searches.trials.trial import MAX_LEASE_S
from server.searches.what_if.payloads import WhatIfPayload
from server.searches.what_if.work import lock_what_if_of, work_failed

STEP_DOORS = (Door.SPACES, Door.ALGORITHMS, Door.METRICS)
WEIGHTS_DOORS = (Door.SPACES, Door.DATASETS)
OUTSIDE = Executor("evaluators outside", Topic.TRIALS)
"""Trials: evaluators outside ask for them over REST; which there are is not known."""
EVALUATION_DOORS = (Door.SPACES, Door.METRICS, Door.DATASETS)


def search_kinds(settings: SearchSettings) -> tuple[KindOfJob, ...]:
    """SEARCH_STEP, SHIFT, DERIVE, EVALUATE, TRIAL and WHAT_IF."""

    def ordered_job_failed(tx: Transaction, job: Job, failure: FinalFailure) -> None:
        fail_search(tx, job, failure, f"{job.kind.value} work of the search")

    def evaluation_failed(tx: Transaction, job: Job, failure: FinalFailure) -> None:
        if failure.blames_brought:  # the next candidate would end the next worker
            fail_search(tx, job, failure, "an evaluation")
        else:
            fail_evaluation(tx, job, failure, settings)

    def trial_failed(tx: Transaction, job: Job, failure: FinalFailure) -> None:
        state = CandidateState.INFEASIBLE if failure.blames_model else CandidateState.FAILED
        fail_evaluation(tx, job, failure, settings, state)

    def advance_search(tx: Transaction, job: Job) -> None:
        # Its long-running job was stopped by a pause: the search's barrier opens.
        if job.search_id is not None:
            advance(tx, SearchStore(tx).lock_search(job.search_id), settings)

    return (
        KindOfJob(
            kind=JobKind.SEARCH_STEP,
            payload=SearchStepPayload,
            executor=SHORT_LANE,
            failed=lambda tx, job, failure: fail_search(tx, job, failure, "a search step"),
            lock_first=affected_searches,
            brought=lambda tx, job: brought_to_search(tx, job, *STEP_DOORS),
            search_paused=_stop_if_queued,
            queue_missing=lambda uow: queue_missing_steps(uow, settings),
        ),
        KindOfJob(
            kind=JobKind.EVALUATE,
            payload=EvaluatePayload,
            executor=HEAVY_LANE,
            failed=evaluation_failed,
            lock_first=affected_searches,
            brought=lambda tx, job: brought_to_search(tx, job, *EVALUATION_DOORS),
            claimed=mark_evaluating,
        ),
        KindOfJob(
            kind=JobKind.TRIAL,
            payload=TrialPayload,
            executor=OUTSIDE,
            failed=trial_failed,
            lock_first=affected_searches,
            claimed=mark_evaluating,
            longest_lease_s=MAX_LEASE_S,
        ),
        KindOfJob(
            kind=JobKind.SHIFT,
            payload=ShiftPayload,
            executor=HEAVY_LANE,
            failed=ordered_job_failed,
            lock_first=affected_searches,
            brought=lambda tx, job: brought_to_search(tx, job, *WEIGHTS_DOORS),
            cancelled=advance_search,
        ),
        KindOfJob(
            kind=JobKind.DERIVE,
            payload=DerivePayload,
            executor=HEAVY_LANE,
            failed=ordered_job_failed,
            lock_first=affected_searches,
            brought=lambda tx, job: brought_to_search(tx, job, *WEIGHTS_DOORS),
            cancelled=advance_search,
            # It takes hours, and resumes from a checkpoint of its own.
            search_paused=lambda tx, job: stop_job(tx, job.id),
        ),
        KindOfJob(
            kind=JobKind.WHAT_IF,
            payload=WhatIfPayload,
            executor=FIT_LANE,
            failed=work_failed,
            lock_first=lock_what_if_of,
            cancellable_alone=False,
        ),
    )


def _stop_if_queued(tx: Transaction, job: Job) -> None:
    """A step under way sees the wish when it is committed, and is discarded then."""
    if job.state is JobState.QUEUED:
        stop_job(tx, job.id)
