"""The search step: what a worker loads, and the one transaction it commits.

A step tells the algorithm what is finished, asks it for more, and commits both with the algorithm's checkpoint. A crash
anywhere leaves the previous checkpoint and the untold results: the step is done again and asks the same candidates.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from nas_engine.domain.architecture import Architecture
from nas_engine.domain.metrics import TEST_TOP1, TOP1
from nas_engine.settings.stopping import PlateauSettings
from server.candidates.candidate import Candidate, Evaluation, counted_values
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.evaluations import next_attempt, record_awaited, record_known
from server.candidates.lifecycle import advance, end_search, finish_candidate, set_search_state
from server.candidates.payloads import SearchStepPayload
from server.candidates.search import Search, SearchCheckpoint
from server.candidates.search_store import CheckpointStore, SearchStore
from server.candidates.states import CandidateState, DesiredState, EndReason, EvaluationSource, SearchState
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import InvalidValueError, LeaseLostError
from server.core.event_type import EventType
from server.core.events import EventStore, NewEvent
from server.core.ids import IdPrefix, new_id
from server.core.paging import MAX_PAGE_SIZE, PageRequest
from server.fleet.store import HardwareStore
from server.jobs.completion import cancel_job, complete_job
from server.jobs.job import Job, LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.spent.spent import elapsed_s
from server.jobs.spent.store import TimeStore
from server.jobs.states import JobKind
from server.measuring.measurement import MeasurementQuery, measurement_kind
from server.measuring.orders import LatencyScheduler
from server.measuring.store import MeasurementStore
from server.searches.accuracy_orders import AccuracyScheduler
from server.searches.amending.store import AmendmentStore
from server.searches.feasibility import nothing_feasible
from server.searches.steps.long_jobs import finished_long_job, order_long_job
from server.searches.steps.step import (
    CurrentVersionAccuracies,
    FinishedCandidate,
    FinishedLongJob,
    SearchStepOutcome,
    ShiftOrder,
    StepInput,
    StepStatus,
    StepVerdict,
)
from server.searches.trials.orders import order_trial
from server.spaces.store import ArchitectureStore


class SearchSteps:
    """Use cases of the worker that steps searches."""

    def __init__(self, uow: UnitOfWork, settings: SearchSettings | None = None) -> None:
        self._uow = uow
        self._settings = settings or SearchSettings()
        self._latency = LatencyScheduler(self._settings)
        self._accuracy = AccuracyScheduler(self._settings)

    def load(self, lease: LeaseRef) -> StepInput:
        """What the step of a leased SEARCH_STEP job starts from.

        Raises:
            LeaseLostError: the lease is not current; take other work.
        """

        def work(tx: Transaction) -> StepInput:
            job = JobStore(tx).get_job(lease.job_id)
            payload = read_payload(SearchStepPayload, job.payload)
            search = SearchStore(tx).get_search(payload.search_id)
            if job.lease != lease or payload.seq != search.checkpoint_seq + 1:
                raise LeaseLostError(lease.job_id, lease.lease_epoch)
            amended = search.checkpoint_seq > 0 and AmendmentStore(tx).are_constraints_newer(search)
            if amended:
                revised = CandidateStore(tx).observed_candidates(search.id)
            else:
                unneeded = {one.metric for one in search.spec.measured_boards()} - set(search.spec.metrics())
                found = EvaluationStore(tx).evaluations_since(search.id, search.checkpoint_seq)
                newer = [one for one in found if one.metric not in unneeded]
                revised = CandidateStore(tx).get_candidates(tuple(dict.fromkeys(e.candidate_id for e in newer)))
            return StepInput(
                search=search,
                checkpoint=CheckpointStore(tx).latest_checkpoint(search.id),
                finished=_with_evaluations(tx, CandidateStore(tx).unobserved_candidates(search.id)),
                revised=_with_evaluations(tx, revised),
                num_left=max(search.spec.budget.num_candidates - search.progress.num_asked, 0),
                measured=_measured(tx, search) if search.checkpoint_seq == 0 else (),
                work=finished_long_job(tx, search),
                expected_gains=CandidateStore(tx).expected_gains(
                    search.id, 2 * (search.spec.stop.plateau or PlateauSettings()).num_candidates
                ),
                current_accuracies=_current_accuracies(tx, search),
                amended=amended,
                elapsed_s=0.0 if search.started_at is None else elapsed_s(search.started_at, None, tx.now()),
                board_time_s=0.0 if search.spec.stop.board_time_s is None else TimeStore(tx).on_devices_s(search.id),
            )

        return self._uow.read(work)

    def commit(self, lease: LeaseRef, outcome: SearchStepOutcome) -> StepVerdict:
        """Commit a step: told marks, new candidates with their jobs, checkpoint, state and events, or nothing at all.

        Raises:
            LeaseLostError: somebody else steps this search by now; drop the outcome.
            InvalidValueError: the outcome does not fit the search (over budget, not finished, ...).
            ConflictError: a candidate is in this search already.
        """

        def work(tx: Transaction) -> StepVerdict:
            payload = read_payload(SearchStepPayload, JobStore(tx).get_job(lease.job_id).payload)
            search = SearchStore(tx).lock_search(payload.search_id)
            job = JobStore(tx).lock_job_of_lease(lease)
            if payload.seq != search.checkpoint_seq + 1:
                raise LeaseLostError(lease.job_id, lease.lease_epoch)
            if search.state is not SearchState.RUNNING or search.desired_state is not DesiredState.RUNNING:
                cancel_job(tx, job)
                if not search.state.final and search.desired_state is DesiredState.PAUSED:
                    set_search_state(tx, search, SearchState.PAUSED)
                return StepVerdict.DISCARDED
            self._commit(tx, job, search, outcome)
            return StepVerdict.COMMITTED

        return self._uow.write(work)

    def _commit(self, tx: Transaction, job: Job, search: Search, outcome: SearchStepOutcome) -> None:
        num_left = search.spec.budget.num_candidates - search.progress.num_asked
        if len(outcome.asked) > num_left:
            raise InvalidValueError(f"{len(outcome.asked)} candidates asked, the budget allows {num_left} more")
        seq = search.checkpoint_seq + 1
        if CandidateStore(tx).mark_candidates_observed(search.id, outcome.observed, seq) != len(set(outcome.observed)):
            raise InvalidValueError("a candidate was told that is not finished, or was told before")
        CheckpointStore(tx).add_checkpoint(
            SearchCheckpoint(
                search_id=search.id,
                seq=seq,
                payload=outcome.checkpoint,
                code_version=outcome.code_version,
                created_at=tx.now(),
            )
        )
        CheckpointStore(tx).prune_checkpoints(search.id, self._settings.keep_checkpoints)
        search = SearchStore(tx).save_search(self._updated(search, outcome, seq))
        EventStore(tx).append_event(_generation_event(search, outcome))
        complete_job(tx, job, {"num_asked": len(outcome.asked), "num_told": len(outcome.observed)})
        search = self._order(tx, search, outcome)
        match outcome.status:
            case StepStatus.CONTINUE:
                advance(tx, search, self._settings)
            case StepStatus.COMPLETED if EvaluationStore(tx).num_awaited_evaluations(search.id) > 0:
                pass  # results became suspect meanwhile: the search ends once they have been measured again
            case StepStatus.COMPLETED if (unmet := nothing_feasible(tx, search)) is not None:
                progress = replace(search.progress, end_reason=EndReason.NO_FEASIBLE_CANDIDATE)
                search = SearchStore(tx).save_search(replace(search, progress=progress))
                end_search(tx, search, SearchState.FAILED, unmet)
            case StepStatus.COMPLETED:
                progress = replace(search.progress, end_reason=outcome.end_reason)
                search = SearchStore(tx).save_search(replace(search, progress=progress))
                end_search(tx, search, SearchState.COMPLETED, outcome.reason)
            case StepStatus.FAILED:
                end_search(tx, search, SearchState.FAILED, outcome.reason)

    @staticmethod
    def _updated(search: Search, outcome: SearchStepOutcome, seq: int) -> Search:
        progress = replace(
            search.progress,
            generation=outcome.generation,
            num_asked=search.progress.num_asked + len(outcome.asked),
            num_unmet=outcome.num_unmet,
            front_size=outcome.front_size,
            hypervolume=outcome.hypervolume,
            reference_point=search.progress.reference_point or outcome.reference_point,
            report={**search.progress.report, **outcome.report},
        )
        return replace(search, checkpoint_seq=seq, progress=progress)

    def _order(self, tx: Transaction, search: Search, outcome: SearchStepOutcome) -> Search:
        first_seq = search.progress.num_asked - len(outcome.asked) + 1
        candidates = [
            Candidate(
                id=new_id(IdPrefix.CANDIDATE),
                search_id=search.id,
                seq=seq,
                generation=outcome.generation,
                record=asked.record,
                genotype=asked.genotype,
                latency_key=asked.latency_key,
                latency_keys=asked.latency_keys,
                model_sha256=asked.model_sha256,
                current={**counted_values(asked.record, source), **asked.counted},
                provenance=asked.provenance,
                expected_gain=asked.expected_gain,
                expected_gain_reason=asked.expected_gain_reason,
                created_at=tx.now(),
            )
            for seq, asked in enumerate(outcome.asked, start=first_seq)
            for source in [EvaluationSource.TABLE if asked.known else EvaluationSource.GRAPH]
        ]
        CandidateStore(tx).add_candidates(candidates)
        for candidate, asked in zip(candidates, outcome.asked, strict=True):
            if search.spec.external:
                order_trial(tx, search, candidate, self._settings)
            if asked.known and (awaited := search.spec.awaited_here()):
                search = record_known(tx, search, candidate, awaited, asked.known)
                continue
            search = self._start(tx, search, candidate, shifting=isinstance(outcome.work, ShiftOrder))
        if outcome.work is not None:
            order_long_job(tx, search, outcome.work, candidates, self._settings)
        for candidate in CandidateStore(tx).get_candidates(outcome.final_evaluations):
            self._accuracy.order(tx, search, candidate, TEST_TOP1)
        for candidate in CandidateStore(tx).get_candidates(outcome.re_measure):
            boards = search.spec.needed_boards()
            attempts = {board.metric: next_attempt(tx, candidate, board.metric) for board in boards}
            search = self._latency.request(tx, search, candidate, attempts)
        return search

    def _start(self, tx: Transaction, search: Search, candidate: Candidate, *, shifting: bool) -> Search:
        awaited, boards = search.spec.awaited_here(), search.spec.measured_boards()
        if not search.spec.awaited_metrics():
            search = finish_candidate(tx, search, candidate, CandidateState.COMPLETE)
            candidate = CandidateStore(tx).get_candidate(candidate.id)
        # Accuracy is ordered first: a latency that is reused at once must not complete the candidate without it.
        if TOP1 in awaited and shifting:
            record_awaited(tx, search, candidate, TOP1, 1, None)  # of a version that does not exist yet
        elif TOP1 in awaited:
            self._accuracy.order(tx, search, candidate)
        for metric in search.spec.evaluated_metrics():
            if metric != TOP1:
                self._accuracy.order(tx, search, candidate, metric)
        if boards:
            search = self._latency.request(tx, search, candidate)
            current = CandidateStore(tx).get_candidate(candidate.id).current
            if num_reused := sum(board.metric in current for board in boards):
                progress = replace(search.progress, num_reused=search.progress.num_reused + num_reused)
                search = SearchStore(tx).save_search(replace(search, progress=progress))
        return search


def _current_accuracies(tx: Transaction, search: Search) -> CurrentVersionAccuracies | None:
    if search.spec.shifting is None or search.spec.crosses_versions:
        return None
    observed = {candidate.id: candidate for candidate in CandidateStore(tx).observed_candidates(search.id)}
    scored = {
        e.candidate_id
        for e in EvaluationStore(tx).evaluations_of_candidates(tuple(observed))
        if e.metric == TOP1 and e.supernet_version_id == search.supernet_version_id
    }
    compared = {c.genotype for c in observed.values() if c.id in scored or c.state is CandidateState.INFEASIBLE}
    survivors: list[str] = []  # candidates that the last step had scored again
    match finished_long_job(tx, search):
        case FinishedLongJob(JobKind.SHIFT, {"survivors": list(ids)}):
            survivors = [str(candidate_id) for candidate_id in ids]
    return CurrentVersionAccuracies(frozenset(compared), tuple(i for i in survivors if i not in scored))


def _with_evaluations(tx: Transaction, candidates: tuple[Candidate, ...]) -> tuple[FinishedCandidate, ...]:
    by_candidate: dict[str, list[Evaluation]] = defaultdict(list)
    for evaluation in EvaluationStore(tx).evaluations_of_candidates([c.id for c in candidates]):
        by_candidate[evaluation.candidate_id].append(evaluation)
    return tuple(FinishedCandidate(c, tuple(by_candidate[c.id])) for c in candidates)


def _generation_event(search: Search, outcome: SearchStepOutcome) -> NewEvent:
    progress = search.progress
    return NewEvent(
        type=EventType.GENERATION,
        search_id=search.id,
        payload={
            "seq": search.checkpoint_seq,
            "generation": progress.generation,
            "num_told": len(outcome.observed),
            "num_new": len(outcome.asked),
            "num_asked": progress.num_asked,
            "num_complete": progress.num_complete,
            "num_infeasible": progress.num_infeasible,
            "num_failed": progress.num_failed,
            "front_size": progress.front_size,
            "hypervolume": progress.hypervolume,
            "report": dict(outcome.report),
        },
    )


def _measured(tx: Transaction, search: Search) -> tuple[Architecture, ...]:
    """Architectures measured on the hardware of a search that wants to start from them, newest first."""
    wanted = search.spec.warm_start
    keys = (search.hardware_key_on(board) for board in search.spec.measured_boards())
    hardware_key = next((key for key in keys if key is not None), None)
    if wanted is None or not wanted.measured or hardware_key is None:
        return ()
    profile = HardwareStore(tx).get_hardware(hardware_key)
    query = MeasurementQuery(
        hardware_key=hardware_key,
        space_id=search.spec.space.id,
        kinds=(measurement_kind(profile.key.identity.device_class),),
    )
    found = (
        MeasurementStore(tx)
        .page_of_measurements(query, PageRequest(min(2 * wanted.max_candidates, MAX_PAGE_SIZE)))
        .items
    )
    arch_ids = tuple(dict.fromkeys(m.arch_id for m in found if m.arch_id is not None))[: wanted.max_candidates]
    return tuple(ArchitectureStore(tx).get_architecture(arch_id).architecture for arch_id in arch_ids)
