"""Dispatch and leases: claim, renew, give back, fail, and put back what died. For jobs of every kind."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from nas_engine.domain.json_value import JsonValue
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.lifecycle import advance, affected_searches
from server.candidates.search_store import SearchStore
from server.candidates.states import SearchState
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic, Wakeups
from server.core.errors import InvalidStateTransitionError
from server.core.paging import Page, PageRequest
from server.fleet.store import DeviceStore
from server.jobs.cancellation import cancel_job
from server.jobs.completion import JobEnds
from server.jobs.failures import MAX_BACKOFF_S, Failure
from server.jobs.job import ClaimRequest, Job, JobQuery, LeaseRecord, LeaseRef, QueueDepth, QueuePlace
from server.jobs.kinds import WAKES_DEVICES, WORKER_KINDS, JobKind
from server.jobs.queue import JobStore
from server.jobs.settings import LeaseSettings, SearchSettings
from server.jobs.states import JobPhase, JobState, LeaseOutcome

CLOCK_SLACK_S = 60.0
"""Leases and back-offs that end this much later than they could: the database's clock was set back."""


@dataclass(frozen=True, slots=True)
class LeaseVerdict:
    """Answer to a renewal.

    Attributes:
        ttl_s: the lease dies after so long unless renewed again.
    """

    lease: LeaseRef
    order: LeaseOrder
    ttl_s: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep found.

    Attributes:
        num_requeued: leases that had died and whose jobs are queued again.
        num_failed: those whose jobs had no attempt left.
        num_advanced: searches whose barrier stood open without a step (none in normal running).
    """

    num_requeued: int = 0
    num_failed: int = 0
    num_advanced: int = 0


class Dispatch:
    """Use cases of jobs and leases, for workers directly and for agents through `AgentSessions`."""

    def __init__(
        self,
        uow: UnitOfWork,
        wakeups: Wakeups,
        leases: LeaseSettings | None = None,
        searches: SearchSettings | None = None,
    ) -> None:
        self._uow = uow
        self._wakeups = wakeups
        self._leases = leases or LeaseSettings()
        self._searches = searches or SearchSettings()
        self._ends = JobEnds(self._searches)

    @property
    def settings(self) -> LeaseSettings:
        """How leases live."""
        return self._leases

    def claim(
        self, owner: str, kinds: tuple[JobKind, ...] = WORKER_KINDS, labels: Mapping[str, str] | None = None
    ) -> Job | None:
        """Lease the next job a worker may do; None where there is none. `job.lease` names the lease."""
        request = ClaimRequest(owner=owner, kinds=kinds, labels=labels or {}, ttl_s=self._leases.ttl_s)
        return self._uow.write(lambda tx: claim(tx, request))

    def wait_and_claim(
        self,
        owner: str,
        kinds: tuple[JobKind, ...] = WORKER_KINDS,
        *,
        wait_s: float,
        labels: Mapping[str, str] | None = None,
    ) -> Job | None:
        """As `claim`, but waits up to `wait_s` for a job; sweeps dead leases while it is at it."""
        deadline = time.monotonic() + min(wait_s, self._leases.max_wait_s)
        request = ClaimRequest(owner=owner, kinds=kinds, labels=labels or {}, ttl_s=self._leases.ttl_s)
        while True:
            token = self._wakeups.token(Topic.WORKER_JOBS)
            self.sweep()
            # One that waits only reads; it writes when there is something to claim.
            ready = self._uow.read(lambda tx: JobStore(tx).claimable_in_s(request)) == 0
            job = self.claim(owner, kinds, labels) if ready else None
            left_s = deadline - time.monotonic()
            if job is not None or left_s <= 0:
                return job
            # A lease can die, and a back-off can end, without anybody waking us.
            self._wakeups.wait(Topic.WORKER_JOBS, token, min(left_s, 1.0))

    def renew(self, lease: LeaseRef, phase: JobPhase | None = None) -> LeaseVerdict:
        """Keep a lease alive. Call it from a thread of its own, every `settings.renew_every_s`.

        Raises:
            LeaseLostError: stop working on it.
        """
        job = self._uow.write(lambda tx: JobStore(tx).renew(lease, self._leases.ttl_s, phase))
        order = LeaseOrder.CANCEL if job.cancel_requested else LeaseOrder.CONTINUE
        return LeaseVerdict(lease, order, self._leases.ttl_s)

    def complete(self, lease: LeaseRef, result: JsonValue = None) -> None:
        """End a job whose effects were committed by other means. Raises LeaseLostError."""

        def work(tx: Transaction) -> None:
            self._ends.done(tx, JobStore(tx).guard(lease), result)

        self._uow.write(work)

    def fail(self, lease: LeaseRef, failure: Failure) -> JobState:
        """Report that an attempt failed; see FailureType for what follows.

        Returns:
            QUEUED where it will be tried again, else FAILED or CANCELLED.

        Raises:
            LeaseLostError: somebody else has the job by now; nothing is written.
        """

        def work(tx: Transaction) -> JobState:
            affected_searches(tx, JobStore(tx).get(lease.job_id))
            return self._ends.failed(tx, JobStore(tx).guard(lease), failure)

        return self._uow.write(work)

    def give_back(self, lease: LeaseRef, reason: str) -> None:
        """Return a job undone, at no one's cost (a worker is shutting down). Raises LeaseLostError."""

        def work(tx: Transaction) -> None:
            affected_searches(tx, JobStore(tx).get(lease.job_id))
            failure = Failure(FailureType.AGENT_SHUTDOWN, reason)
            self._ends.failed(tx, JobStore(tx).guard(lease), failure, outcome=LeaseOutcome.NACKED)

        self._uow.write(work)

    def sweep(self) -> SweepReport:
        """Put back jobs whose lease has died. Idempotent; any replica may.

        A database whose clock was set back would leave leases and back-offs running for as long as it went back: they
        are pulled back to what they would be if begun now.
        """
        longest = (max(self._leases.ttl_s, self._leases.accept_s) + CLOCK_SLACK_S, MAX_BACKOFF_S + CLOCK_SLACK_S)
        if self._uow.read(lambda tx: JobStore(tx).num_ahead_of_clock(*longest)):
            self._uow.write(lambda tx: JobStore(tx).pull_back(*longest))
        dead = self._uow.read(lambda tx: JobStore(tx).expired(self._leases.sweep_batch))
        states = [self._uow.write(lambda tx, j=job: self._expire(tx, j)) for job in dead]  # type: ignore[misc]
        return SweepReport(
            num_requeued=states.count(JobState.QUEUED),
            num_failed=states.count(JobState.FAILED),
        )

    def reconcile(self) -> SweepReport:
        """Queue the step of every running search that waits for nothing and has none. For start-up and now and then."""
        running = (SearchState.RUNNING, SearchState.DRAINING)
        searches = self._uow.read(lambda tx: SearchStore(tx).in_states(running))
        num_advanced = sum(self._uow.write(lambda tx, i=search.id: self._reopen(tx, i)) for search in searches)  # type: ignore[misc]
        return SweepReport(num_advanced=num_advanced)

    def get(self, job_id: str) -> Job:
        """One job. Raises NotFoundError."""
        return self._uow.read(lambda tx: JobStore(tx).get(job_id))

    def page(self, query: JobQuery, page: PageRequest) -> Page[Job]:
        """List, newest first."""
        return self._uow.read(lambda tx: JobStore(tx).page(query, page))

    def history(self, job_id: str) -> tuple[LeaseRecord, ...]:
        """Every lease a job ever had, oldest first. Raises NotFoundError."""

        def look(tx: Transaction) -> tuple[LeaseRecord, ...]:
            JobStore(tx).get(job_id)
            return JobStore(tx).lease_history(job_id)

        return self._uow.read(look)

    def place(self, job_id: str) -> QueuePlace | None:
        """Where a job stands in its queue; None for one that is not waiting. Raises NotFoundError."""

        def look(tx: Transaction) -> QueuePlace | None:
            job = JobStore(tx).get(job_id)
            if job.state is not JobState.QUEUED:
                return None
            num_ahead, duration_s = JobStore(tx).num_ahead(job), JobStore(tx).mean_duration_s(job)
            on_devices = job.kind in WAKES_DEVICES
            num_takers = None
            if on_devices:
                num_takers = DeviceStore(tx).num_able(job.target, excluding="", kind=job.kind, reserved=False)
            lanes = 1 if num_takers is None else num_takers
            eta_s = duration_s * (num_ahead // lanes + 1) if duration_s is not None and lanes else None
            return QueuePlace(position=num_ahead + 1, num_takers=num_takers, eta_s=eta_s)

        return self._uow.read(look)

    def depths(self) -> tuple[QueueDepth, ...]:
        """How many jobs of each kind wait and run."""
        return self._uow.read(lambda tx: JobStore(tx).depths())

    def cancel(self, job_id: str) -> None:
        """Cancel one job that belongs to no search, supernet or study (a measurement of a user's own model).

        Raises:
            NotFoundError: there is no such job.
            InvalidStateTransitionError: it is final, or belongs to a search or supernet: cancel that.
        """

        def work(tx: Transaction) -> None:
            job = JobStore(tx).lock(job_id)
            owned = job.search_id is not None or job.supernet_id is not None or job.kind is JobKind.RANK
            if job.state.final or owned:
                raise InvalidStateTransitionError("job", job.id, job.state.value, JobState.CANCELLED.value, ())
            if job.state is JobState.QUEUED:
                cancel_job(tx, job)
            else:
                JobStore(tx).request_cancel(job.id)

        self._uow.write(work)

    def _expire(self, tx: Transaction, seen: Job) -> JobState:
        affected_searches(tx, seen)
        job = JobStore(tx).lock_if_expired(seen)
        if job is None:
            return JobState.LEASED
        return expire(tx, self._ends, job)

    def _reopen(self, tx: Transaction, search_id: str) -> int:
        search = SearchStore(tx).lock(search_id)
        if JobStore(tx).active_of_search(search_id) or EvaluationStore(tx).num_awaited(search_id) > 0:
            return 0
        advance(tx, search, self._searches)
        return 1


def claim(tx: Transaction, request: ClaimRequest) -> Job | None:
    """Lease a job inside the caller's transaction; its candidate counts as EVALUATING from now on."""
    job = JobStore(tx).claim(request)
    if job is not None and job.candidate_id is not None:
        CandidateStore(tx).mark_evaluating(job.candidate_id)
    return job


def expire(tx: Transaction, ends: JobEnds, job: Job, reason: str = "the lease was not renewed in time") -> JobState:
    """End the dead lease of a locked job. One that its holder never accepted costs no attempt."""
    if not job.accepted and not job.cancel_requested:
        failure = Failure(FailureType.AGENT_SHUTDOWN, "the lease was never accepted")
    else:
        failure = Failure(FailureType.LEASE_LOST, reason)
    return ends.failed(tx, job, failure, outcome=LeaseOutcome.EXPIRED)
