"""Use cases of evaluators outside: they ask for trials, keep them, and tell, fail or give back each of them once.

A trial is a job of a kind of its own: attempts, leases, expiry, cancellation and events are those of every job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.views.graph_document import graph_document
from server.artifacts.artifact import ModelFormat, WeightsOrigin
from server.artifacts.store import ArtifactStore
from server.candidates.candidate import Candidate, Evaluation
from server.candidates.candidate_store import CandidateStore
from server.candidates.lifecycle import advance, record_value
from server.candidates.payloads import TrialPayload
from server.candidates.search import Search
from server.candidates.search_store import SearchStore
from server.candidates.states import EvaluationSource
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import ConflictError, NotFoundError
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest
from server.jobs.completion import cancel_job, complete_job, fail_attempt
from server.jobs.dispatch import Dispatch, claim_job, lock_first
from server.jobs.failures import Failure
from server.jobs.job import ClaimRequest, Job, JobQuery, LeaseRef
from server.jobs.payloads import read_payload
from server.jobs.queue import JobStore
from server.jobs.settings import SearchSettings
from server.jobs.states import JobKind, JobPhase, JobState, LeaseOutcome
from server.searches.trials.trial import Fault, ToldValue, Trial, TrialModel, check_told, digest_of
from server.spaces.catalog import SpaceCatalog

PROBE_SEED = 0
"""Of the random weights of a probe: fixed, so that equal architectures give equal files."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an evaluator is given.

    Attributes:
        search: as it stands; once it has ended there will be no more.
        trials: that the evaluator holds now, those it held before among them, by id.
    """

    search: Search
    trials: tuple[Trial, ...]


class Trials:
    """Leases trials to evaluators and takes in what they answer."""

    def __init__(
        self, uow: UnitOfWork, dispatch: Dispatch, spaces: SpaceCatalog, settings: SearchSettings | None = None
    ) -> None:
        self._uow = uow
        self._dispatch = dispatch
        self._spaces = spaces
        self._settings = settings or SearchSettings()

    def put_back_dead(self) -> None:
        """Put trials back whose lease has died; before `ask`, in a transaction of its own."""
        self._dispatch.sweep()

    def ask(self, search_id: str, evaluator: str, num_trials: int, lease_s: float) -> Asked:
        """Give an evaluator the trials that it holds, kept for `lease_s` from now, and new ones up to `num_trials`.

        Raises:
            NotFoundError: there is no such search.
            ConflictError: nothing of the search comes from outside.
        """

        def work(tx: Transaction) -> Asked:
            search = SearchStore(tx).get_search(search_id)
            if not search.spec.external:
                raise ConflictError(
                    f"search {search_id} wants nothing from outside: start one whose spec names the metrics in external"
                )
            held = self._held(tx, search_id, evaluator, lease_s)
            request = ClaimRequest(
                owner=evaluator, kinds=(JobKind.TRIAL,), search_id=search_id, ttl_s=lease_s, accepted=True
            )
            while len(held) < num_trials and (job := claim_job(tx, self._dispatch.kinds, request)) is not None:
                held.append(job)
            return Asked(search, tuple(self._trial(tx, search, job) for job in sorted(held, key=lambda one: one.id)))

        asked = self._uow.write(work)
        return replace(asked, trials=tuple(self._with_graph(trial) for trial in asked.trials))

    def _held(self, tx: Transaction, search_id: str, evaluator: str, lease_s: float) -> list[Job]:
        """The trials that an evaluator holds, renewed; what nobody waits for any more ends here."""
        held = []
        for seen in JobStore(tx).jobs_leased_to(evaluator):
            if seen.kind is not JobKind.TRIAL or seen.search_id != search_id:
                continue
            job = JobStore(tx).lock_job(seen.id)
            if job.state is not JobState.LEASED or job.lease != seen.lease:
                continue
            if job.cancel_requested:
                cancel_job(tx, job)
                continue
            JobStore(tx).renew_lease(job, lease_s, JobPhase.WORKING)
            held.append(JobStore(tx).get_job(job.id))
        return held

    def renew(self, search_id: str, lease: LeaseRef, lease_s: float) -> Trial:
        """Keep a trial for `lease_s` from now.

        Raises:
            NotFoundError: the search has no such trial.
            ConflictError: the lease is no longer current, or nobody waits for the trial; says why.
        """

        def work(tx: Transaction) -> Trial | str:
            seen = _trial_job(tx, search_id, lease.job_id)
            lock_first(tx, self._dispatch.kinds, seen)
            job = JobStore(tx).lock_job(lease.job_id)
            if reason := _not_current(tx, job, lease):
                raise ConflictError(reason)
            if job.cancel_requested:
                cancel_job(tx, job)
                return _unwanted(job, SearchStore(tx).get_search(search_id))
            JobStore(tx).renew_lease(job, lease_s, JobPhase.WORKING)
            return self._trial(tx, SearchStore(tx).get_search(search_id), JobStore(tx).get_job(job.id))

        return _committed(self._uow.write(work))

    def tell(self, search_id: str, lease: LeaseRef, told: Mapping[str, ToldValue]) -> Trial:
        """End a trial with its values; completes the candidate and opens the barrier where they were the last awaited.

        Repeated with the same values it answers the same. A lease that had died is taken where nobody has the trial.

        Raises:
            NotFoundError: the search has no such trial.
            InvalidSpecError: the values are not those that are wanted; the lease goes on.
            ConflictError: the lease is no longer current, or nobody waits for the trial; says why.
        """
        values: dict[str, JsonValue] = {
            name: {"value": one.value, "standard_error": one.standard_error} for name, one in sorted(told.items())
        }

        def end(tx: Transaction, search: Search, job: Job, digest: str) -> None:
            payload = read_payload(TrialPayload, job.payload)
            candidate = CandidateStore(tx).get_candidate(payload.candidate_id)
            complete_job(tx, job, values, digest)
            for name in payload.metrics:
                evaluation = Evaluation(
                    id=new_id(IdPrefix.EVALUATION),
                    search_id=search.id,
                    candidate_id=candidate.id,
                    metric=search.spec.metric_named(name),
                    value=told[name].value,
                    uncertainty=told[name].standard_error,
                    source=EvaluationSource.EXTERNAL,
                    created_at=tx.now(),
                )
                search = record_value(tx, search, CandidateStore(tx).get_candidate(candidate.id), evaluation)
            advance(tx, search, self._settings)

        def check(tx: Transaction) -> None:
            payload = read_payload(TrialPayload, _trial_job(tx, search_id, lease.job_id).payload)
            check_told(SearchStore(tx).get_search(search_id).spec, payload.metrics, told)

        self._uow.read(check)
        return self._end(search_id, lease, digest_of({"metrics": values}), end, late=True)

    def fail(self, search_id: str, lease: LeaseRef, reason: str, fault: Fault) -> Trial:
        """End an attempt without values: tried again while attempts are left, unless it is the architecture's fault.

        Raises:
            NotFoundError, ConflictError: as `tell`.
        """
        type = FailureType.MODEL_REJECTED if fault is Fault.ARCHITECTURE else FailureType.WORKER_ERROR
        failure = Failure(type, reason)

        def end(tx: Transaction, _search: Search, job: Job, digest: str) -> None:
            fail_attempt(tx, self._dispatch.kinds, job, failure, digest=digest)

        return self._end(search_id, lease, digest_of({"failed": reason, "fault": fault.value}), end)

    def give_back(self, search_id: str, lease: LeaseRef) -> Trial:
        """Return a trial that was not done, without counting the attempt: whoever asks next may have it.

        Raises:
            NotFoundError, ConflictError: as `tell`.
        """

        def end(tx: Transaction, _search: Search, job: Job, digest: str) -> None:
            failure = Failure(FailureType.AGENT_SHUTDOWN, "given back by its evaluator")
            fail_attempt(tx, self._dispatch.kinds, job, failure, outcome=LeaseOutcome.NACKED, digest=digest)

        return self._end(search_id, lease, digest_of({"given_back": True}), end)

    def _end(
        self,
        search_id: str,
        lease: LeaseRef,
        digest: str,
        end: Callable[[Transaction, Search, Job, str], None],
        *,
        late: bool = False,
    ) -> Trial:
        """Take one answer to a lease, once.

        Args:
            digest: of the answer.
            end: what it does.
            late: whether it counts too where the lease has died and nobody has the trial since.
        """

        def work(tx: Transaction) -> Trial | str:
            seen = _trial_job(tx, search_id, lease.job_id)
            lock_first(tx, self._dispatch.kinds, seen)
            search = SearchStore(tx).lock_search(search_id)
            job = JobStore(tx).lock_job(lease.job_id)
            record = JobStore(tx).lease_record(lease.lease_id)
            if record is not None and record.job_id == job.id and record.result_digest == digest:
                return self._trial(tx, search, job)
            reason = _not_current(tx, job, lease)
            if reason and not (late and job.state is JobState.QUEUED and job.lease == lease):
                raise ConflictError(reason)
            if job.cancel_requested:
                JobStore(tx).end_lease(lease, LeaseOutcome.CANCELLED, None, None)
                cancel_job(tx, job)
                return _unwanted(job, search)
            end(tx, search, job, digest)
            return self._trial(tx, SearchStore(tx).get_search(search_id), JobStore(tx).get_job(job.id))

        return _committed(self._uow.write(work))

    def page(self, search_id: str, states: tuple[JobState, ...], page: PageRequest) -> Page[Trial]:
        """List the trials of a search, newest first. Raises NotFoundError."""

        def look(tx: Transaction) -> Page[Trial]:
            search = SearchStore(tx).get_search(search_id)
            query = JobQuery(kinds=(JobKind.TRIAL,), states=states, search_id=search_id)
            found = JobStore(tx).page_of_jobs(query, page)
            return Page(tuple(self._trial(tx, search, job) for job in found.items), found.next)

        return self._uow.read(look)

    def probe(self, candidate_id: str) -> tuple[Candidate, bytes]:
        """The network of a candidate as ONNX with random weights: good for latency and energy alone.

        Raises:
            NotFoundError: there is no such candidate.
            EngineError: its space has no networks.
        """
        candidate = self._uow.read(lambda tx: CandidateStore(tx).get_candidate(candidate_id))
        return candidate, self._spaces.export_onnx(candidate.record.architecture, batch=1, seed=PROBE_SEED)

    def _trial(self, tx: Transaction, search: Search, job: Job) -> Trial:
        payload = read_payload(TrialPayload, job.payload)
        candidate = CandidateStore(tx).get_candidate(payload.candidate_id)
        wanted = tuple(search.spec.metric_named(name) for name in payload.metrics)
        return Trial(job=job, search=search, candidate=candidate, wanted=wanted, model=_stored_model(tx, candidate))

    def _with_graph(self, trial: Trial) -> Trial:
        """Add what needs no database: the graph, and where a probe is made of it."""
        graph = self._spaces.graph(trial.candidate.record.architecture)
        if graph is None:
            return trial
        made = TrialModel(f"/api/v1/candidates/{trial.candidate.id}/probe.onnx", WeightsOrigin.RANDOM)
        return replace(trial, layer_graph=graph_document(graph), model=trial.model or made)


def _trial_job(tx: Transaction, search_id: str, job_id: str) -> Job:
    found = JobStore(tx).get_many([job_id]).get(job_id)
    if found is None or found.kind is not JobKind.TRIAL or found.search_id != search_id:
        raise NotFoundError("trial", job_id)
    return found


def _stored_model(tx: Transaction, candidate: Candidate) -> TrialModel | None:
    """The candidate's ONNX file that is there already: with its supernet's weights, else as it is measured."""
    if candidate.final_model_sha256 is not None:
        sha256, weights = candidate.final_model_sha256, WeightsOrigin.INHERITED
    elif candidate.latency_key is not None:
        store, origins = ArtifactStore(tx), tuple(WeightsOrigin)
        export = store.find_export(candidate.latency_key, ModelFormat.ONNX, origins, None)
        if export is None:
            return None
        sha256, weights = export.sha256, export.weights
    else:
        return None
    return TrialModel(f"/api/v1/artifacts/{sha256}", weights, sha256)


def _not_current(tx: Transaction, job: Job, lease: LeaseRef) -> str:
    """Say why a lease cannot be answered; empty where it is current."""
    record = JobStore(tx).lease_record(lease.lease_id)
    if record is None or (record.job_id, record.lease_epoch) != (job.id, lease.lease_epoch):
        return f"lease {lease.lease_id} with fence {lease.lease_epoch} was never granted for trial {job.id}: ask again"
    if job.state is JobState.LEASED and job.lease == lease:
        return ""
    if record.result_digest is not None:
        return f"trial {job.id} was answered under this lease before, with something else: that answer stands"
    ended = "it was not renewed in time" if record.outcome is LeaseOutcome.EXPIRED else "it ended"
    if record.outcome is LeaseOutcome.CANCELLED or job.state is JobState.CANCELLED:
        ended = "nobody waits for the trial any more"
    now = f"the trial is {job.state.value} now"
    if job.state is JobState.LEASED:
        now += f", by {job.lease_owner} with fence {job.lease_epoch}"
    return f"fence {lease.lease_epoch} of trial {job.id} is stale: {ended}; {now}"


def _unwanted(job: Job, search: Search) -> str:
    return f"nobody waits for trial {job.id} any more: its candidate or search {search.id} ({search.state.value}) ended"


def _committed(found: Trial | str) -> Trial:
    """What came of a transaction; raises the reason of one that ended the trial without its answer."""
    if isinstance(found, str):
        raise ConflictError(found)
    return found
