"""The model of any candidate of a supernet's search, not of front members alone: exported on demand."""

from __future__ import annotations

from nas_engine.domain.metrics import TEST_TOP1
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.search_store import SearchStore
from server.candidates.states import CandidateState
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import ConflictError
from server.core.paging import MAX_PAGE_SIZE, PageRequest
from server.jobs.job import Job, JobQuery
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind, JobState
from server.searches.accuracy_orders import AccuracyScheduler


class CandidateExports:
    """Use case of exporting candidates."""

    def __init__(self, uow: UnitOfWork, settings: SearchSettings | None = None) -> None:
        self._uow = uow
        self._accuracy = AccuracyScheduler(settings or SearchSettings())

    def order(self, candidate_id: str) -> Job:
        """Have a candidate calibrated, classified on test images and exported with its supernet's weights.

        What is under way already is given back. The job's end leaves the file among the candidate's models; the
        accuracy that was found on the way is that of the very file.

        Raises:
            NotFoundError: there is no such candidate.
            ConflictError: there is nothing to export, or it is exported already.
        """

        def work(tx: Transaction) -> Job:
            candidate = CandidateStore(tx).get_candidate(candidate_id)
            search = SearchStore(tx).lock_search(candidate.search_id)
            candidate = CandidateStore(tx).get_candidate(candidate_id)
            if search.supernet_version_id is None:
                raise ConflictError(
                    f"search {search.id} has no supernet, so candidate {candidate_id} has no weights to export: "
                    "train it by itself (hilnas candidates retrain)"
                )
            if candidate.final_model_sha256 is not None:
                raise ConflictError(f"candidate {candidate_id} is exported already: its models list the files")
            if candidate.state is not CandidateState.COMPLETE:
                raise ConflictError(
                    f"candidate {candidate_id} is {candidate.state.value}: only complete ones are exported"
                )
            if any(one.metric == TEST_TOP1 for one in EvaluationStore(tx).awaited_evaluations_of(candidate_id)):
                wanted = JobQuery(kinds=(JobKind.EVALUATE,), candidate_id=candidate_id)
                for job in JobStore(tx).page_of_jobs(wanted, PageRequest(MAX_PAGE_SIZE)).items:
                    if job.state in (JobState.QUEUED, JobState.LEASED):
                        return job
            return self._accuracy.order(tx, search, candidate, TEST_TOP1)

        return self._uow.write(work)
