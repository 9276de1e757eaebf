"""Dispatch and leases: claim, renew, give back, fail, and put back what died. For jobs of every kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from nas_engine.domain.job_protocol import FailureType, LeaseOrder
from nas_engine.domain.json_value import JsonValue
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic, Wakeups
from server.core.errors import InvalidStateTransitionError, LeaseLostError
from server.core.paging import Page, PageRequest
from server.jobs.completion import cancel_job, complete_job, expire_lease, fail_attempt
from server.jobs.failures import MAX_BACKOFF_S, Failure
from server.jobs.job import ClaimRequest, Job, JobQuery, LeaseRecord, LeaseRef, QueueDepth, QueuePlace, Takers
from server.jobs.queue import JobStore
from server.jobs.registry import JobKinds
from server.jobs.settings import LeaseSettings
from server.jobs.states import JobKind, JobPhase, JobState, LeaseOutcome
from server.jobs.workers.registered import RegisteredWorker, absence, death
from server.jobs.workers.store import WorkerStore

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

    def __init__(self, uow: UnitOfWork, wakeups: Wakeups, kinds: JobKinds, leases: LeaseSettings | None = None) -> None:
        self._uow = uow
        self._wakeups = wakeups
        self.kinds = kinds
        self._leases = leases or LeaseSettings()

    @property
    def settings(self) -> LeaseSettings:
        """Durations of leases and of long polls."""
        return self._leases

    def claim(
        self, owner: str, kinds: tuple[JobKind, ...] | None = None, labels: Mapping[str, str] | None = None
    ) -> Job | None:
        """Lease the next job a worker may do; None where there is none. `job.lease` names the lease.

        Args:
            kinds: only these; None for all that workers do.
        """
        request = self._request(owner, kinds, labels)
        return self._uow.write(lambda tx: claim_job(tx, self.kinds, request))

    def wait_and_claim(
        self,
        owner: str,
        kinds: tuple[JobKind, ...] | None = None,
        *,
        wait_s: float,
        labels: Mapping[str, str] | None = None,
    ) -> Job | None:
        """As `claim`, but waits up to `wait_s` for a job; sweeps dead leases while it is at it."""
        deadline = time.monotonic() + min(wait_s, self._leases.max_wait_s)
        request = self._request(owner, kinds, labels)
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

        def work(tx: Transaction) -> bool:
            job = JobStore(tx).lock_job_of_lease(lease)
            JobStore(tx).renew_lease(job, self._leases.ttl_s, phase)
            return job.cancel_requested

        order = LeaseOrder.CANCEL if self._uow.write(work) else LeaseOrder.CONTINUE
        return LeaseVerdict(lease, order, self._leases.ttl_s)

    def complete(self, lease: LeaseRef, result: JsonValue = None) -> None:
        """End a job whose effects were committed by other means. Raises LeaseLostError."""

        def work(tx: Transaction) -> None:
            complete_job(tx, JobStore(tx).lock_job_of_lease(lease), result)

        self._uow.write(work)

    def fail(self, lease: LeaseRef, failure: Failure) -> JobState:
        """Report that an attempt failed; see FailureType for what follows.

        Returns:
            QUEUED where it will be tried again, else FAILED or CANCELLED.

        Raises:
            LeaseLostError: the lease has ended; nothing is written.
        """

        def work(tx: Transaction) -> JobState:
            lock_first(tx, self.kinds, JobStore(tx).get_job(lease.job_id))
            return fail_attempt(tx, self.kinds, JobStore(tx).lock_job_of_lease(lease), failure)

        return self._uow.write(work)

    def give_back(self, lease: LeaseRef, reason: str) -> None:
        """Return a job that was not done, without counting the attempt: a worker is shutting down. Raises
        LeaseLostError."""

        def work(tx: Transaction) -> None:
            lock_first(tx, self.kinds, JobStore(tx).get_job(lease.job_id))
            failure = Failure(FailureType.AGENT_SHUTDOWN, reason)
            fail_attempt(tx, self.kinds, JobStore(tx).lock_job_of_lease(lease), failure, outcome=LeaseOutcome.NACKED)

        self._uow.write(work)

    def sweep(self) -> SweepReport:
        """Put back jobs whose lease has died. Idempotent; any replica may.

        A database whose clock was set back would leave leases and back-offs running for as long as it went back: they
        are pulled back to what they would be if begun now.
        """
        granted_s = max(self._leases.ttl_s, self._leases.accept_s)
        ttls_s = dict.fromkeys(JobKind, granted_s + CLOCK_SLACK_S)
        ttls_s |= {one.kind: (one.longest_lease_s or granted_s) + CLOCK_SLACK_S for one in self.kinds}
        delay_s = MAX_BACKOFF_S + CLOCK_SLACK_S
        if self._uow.read(lambda tx: JobStore(tx).num_ahead_of_clock(ttls_s, delay_s)):
            self._uow.write(lambda tx: JobStore(tx).pull_back(ttls_s, delay_s))
        dead = self._uow.read(lambda tx: JobStore(tx).expired_jobs(self._leases.sweep_batch))
        states = [self._uow.write(lambda tx, j=job: self._expire(tx, j)) for job in dead]  # type: ignore[misc]
        return SweepReport(
            num_requeued=states.count(JobState.QUEUED),
            num_failed=states.count(JobState.FAILED),
        )

    def reconcile(self) -> SweepReport:
        """Queue what should be queued and is not, of every kind. For start-up and now and then."""
        queueing = [kind.queue_missing for kind in self.kinds if kind.queue_missing is not None]
        return SweepReport(num_advanced=sum(queue_missing(self._uow) for queue_missing in queueing))

    def get(self, job_id: str) -> Job:
        """Read one job. Raises NotFoundError."""
        return self._uow.read(lambda tx: JobStore(tx).get_job(job_id))

    def page(self, query: JobQuery, page: PageRequest) -> Page[Job]:
        """List the jobs that a query matches, newest first."""
        return self._uow.read(lambda tx: JobStore(tx).page_of_jobs(query, page))

    def history(self, job_id: str) -> tuple[LeaseRecord, ...]:
        """Every lease a job ever had, oldest first. Raises NotFoundError."""

        def look(tx: Transaction) -> tuple[LeaseRecord, ...]:
            JobStore(tx).get_job(job_id)
            return JobStore(tx).lease_history(job_id)

        return self._uow.read(look)

    def place(self, job_id: str) -> QueuePlace | None:
        """Where a job stands in its queue; None for one that is not waiting. Raises NotFoundError."""

        def look(tx: Transaction) -> QueuePlace | None:
            job = JobStore(tx).get_job(job_id)
            if job.state is not JobState.QUEUED:
                return None
            num_ahead, duration_s = JobStore(tx).num_jobs_ahead(job), JobStore(tx).mean_job_duration_s(job)
            kind = self.kinds[job.kind]
            timeout = timedelta(seconds=self._leases.device_timeout_s)
            takers = kind.executor.takers(tx, job, kind.feature, timeout)
            if takers is None and (no_worker := self._no_worker(tx, job)):
                takers = Takers(num=0, waiting_for=no_worker)
            lanes = 1 if takers is None else takers.num
            eta_s = duration_s * (num_ahead // lanes + 1) if duration_s is not None and lanes else None
            return QueuePlace(position=num_ahead + 1, takers=takers, eta_s=eta_s)

        return self._uow.read(look)

    def beat(self, worker: RegisteredWorker) -> None:
        """Note that a worker lives; its first beat registers it."""
        self._uow.write(lambda tx: WorkerStore(tx).beat(worker))

    def leave(self, worker_id: str) -> None:
        """Note that a worker ends."""
        self._uow.write(lambda tx: WorkerStore(tx).leave(worker_id))

    def search_waits_for(self, search_id: str, group: Callable[[Job], str] = lambda _: "") -> str:
        """In words, what stands in the way of a search besides its turn: that no worker lives, or what the next
        device's job waits for; empty where there is no job, or nothing to say.

        Args:
            group: of a device's job; what the next job of each group waits for is said, after the group's name.
        """

        def look(tx: Transaction) -> tuple[tuple[Job, ...], str]:
            active = tuple(JobStore(tx).active_jobs_of_search(search_id))
            reasons = (self._no_worker(tx, job) for job in active)
            return active, next((reason for reason in reasons if reason), "")

        waiting, no_worker = self._uow.read(look)
        if no_worker:
            return no_worker
        said: dict[str, str] = {}
        for job in waiting:
            if job.state is JobState.QUEUED and self.kinds[job.kind].executor.topic is Topic.DEVICE_JOBS:
                name = group(job)
                if name not in said:
                    place = self.place(job.id)
                    said[name] = "" if place is None or place.takers is None else place.takers.waiting_for
        return "; ".join(f"{name}: {reason}" if name else reason for name, reason in said.items() if reason)

    def depths(self) -> tuple[QueueDepth, ...]:
        """How many jobs of each kind wait and run."""
        return self._uow.read(lambda tx: JobStore(tx).queue_depths())

    def cancel(self, job_id: str) -> None:
        """Cancel one job that belongs to no search, supernet, network or study (a measurement of a user's own model).

        Raises:
            NotFoundError: there is no such job.
            InvalidStateTransitionError: it is final, or belongs to a search, supernet or network: cancel that.
        """

        def work(tx: Transaction) -> None:
            job = JobStore(tx).lock_job(job_id)
            part = any(of is not None for of in (job.search_id, job.supernet_id, job.network_id))
            owned = part or not self.kinds[job.kind].cancellable_alone
            if job.state.final or owned:
                raise InvalidStateTransitionError("job", job.id, job.state.value, JobState.CANCELLED.value, ())
            if job.unbegun:
                cancel_job(tx, job)
            else:
                JobStore(tx).request_cancel_of_job(job.id)

        self._uow.write(work)

    def no_worker_for(self, kind: JobKind) -> str:
        """In words, that no worker lives that does jobs of a kind; empty where one does."""
        return self._uow.read(lambda tx: absence(WorkerStore(tx).all_workers(), kind, tx.now()))

    def _no_worker(self, tx: Transaction, job: Job) -> str:
        """In words, that no worker lives for a job, or that the one that has it died; empty for devices' jobs."""
        if self.kinds[job.kind].executor.topic is not Topic.WORKER_JOBS:
            return ""
        workers, now = WorkerStore(tx).all_workers(), tx.now()
        if job.state is JobState.QUEUED:
            return absence(workers, job.kind, now)
        return "" if job.lease_owner is None else death(workers, job.lease_owner, job.kind, now)

    def _expire(self, tx: Transaction, seen: Job) -> JobState:
        lock_first(tx, self.kinds, seen)
        job = JobStore(tx).lock_job_if_expired(seen)
        if job is None:
            return JobState.LEASED
        return expire_lease(tx, self.kinds, job)

    def _request(self, owner: str, kinds: tuple[JobKind, ...] | None, labels: Mapping[str, str] | None) -> ClaimRequest:
        wanted = self.kinds.of_workers() if kinds is None else kinds
        return ClaimRequest(owner=owner, kinds=wanted, labels=labels or {}, ttl_s=self._leases.ttl_s)


def claim_job(tx: Transaction, kinds: JobKinds, request: ClaimRequest) -> Job | None:
    """Lease a job inside the caller's transaction, with what its kind does at a claim."""
    job = JobStore(tx).claim_job(request)
    if job is not None:
        kinds[job.kind].claimed(tx, job)
    return job


def claim_held_job(tx: Transaction, kinds: JobKinds, request: ClaimRequest) -> Job | None:
    """Lease a job that a busy device holds ahead; that one is told at the latest when it asks whether to begin."""
    seen = JobStore(tx).held_job(request)
    if seen is None or seen.lease is None:
        return None
    lock_first(tx, kinds, seen)
    try:
        job = JobStore(tx).lock_job_of_lease(seen.lease)
    except LeaseLostError:
        return None
    if job.accepted or job.cancel_requested:
        return None
    failure = Failure(FailureType.AGENT_SHUTDOWN, "another device was free before the one that held it")
    fail_attempt(tx, kinds, job, failure, outcome=LeaseOutcome.NACKED)
    return claim_job(tx, kinds, request)


def give_way(
    tx: Transaction, kinds: JobKinds, lease: LeaseRef, holder: str, request_of_holder: Callable[[], ClaimRequest]
) -> bool:
    """End a lease that its holder would begin now, where an order of a person goes before it; whether it was ended.

    Args:
        request_of_holder: what it would claim by, made for jobs that have not begun alone.

    Raises:
        LeaseLostError: it is not the job's current lease.
        NotFoundError: there is no such job.
    """
    seen = JobStore(tx).get_job(lease.job_id)
    held = seen.lease == lease and seen.unbegun and seen.lease_owner == holder and not seen.cancel_requested
    if not held or not JobStore(tx).gives_way(seen, request_of_holder()):
        return False
    lock_first(tx, kinds, seen)
    job = JobStore(tx).lock_job_of_lease(lease)
    if job.accepted:
        return False
    failure = Failure(FailureType.AGENT_SHUTDOWN, "an order of a person goes before it")
    fail_attempt(tx, kinds, job, failure, outcome=LeaseOutcome.NACKED)
    return True


def lock_first(tx: Transaction, kinds: JobKinds, job: Job) -> None:
    """Lock what the end of a job concerns, before the job itself: two transactions then never wait for each other."""
    kinds[job.kind].lock_first(tx, job)
