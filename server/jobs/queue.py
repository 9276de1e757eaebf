"""`JobStore`: jobs and their leases. Expiry is decided by the database's clock alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from server.access.principal import Principal
from server.access.store import owned_by
from server.core.database.prepared import fetch
from server.core.database.statements import key_parameters, update_row
from server.core.database.store import where_given
from server.core.database.types import later, now
from server.core.errors import ConflictError, LeaseLostError
from server.core.ids import IdPrefix, new_id
from server.core.paging import Page, PageRequest
from server.jobs.claims import (
    claim_statement,
    held_statement,
    next_statement,
    ready_statement,
    shared_statement,
    soonest_statement,
    values_of,
)
from server.jobs.failures import Failure
from server.jobs.job import ClaimRequest, Job, JobOrder, JobQuery, LeaseRef, NewJob, QueueDepth
from server.jobs.lease_history import LeaseHistory
from server.jobs.shares.store import TurnStore, same_pool
from server.jobs.states import JobKind, JobPhase, JobState
from server.jobs.tables import JOBS, job_exclusions, jobs, leases

NUM_TIMED = 20  # jobs that an estimate of waiting time rests on

_ACTIVE = (JobState.QUEUED, JobState.LEASED)
_DEAD = (jobs.c.state == JobState.LEASED, jobs.c.lease_expires_at < now())
_ACTIVE_LITERALS = [sa.literal(state, jobs.c.state.type) for state in _ACTIVE]
_ACTIVE_UNDER = (
    JOBS.by(jobs.c.latency_key, jobs.c.hardware_key).where(jobs.c.state.in_(_ACTIVE_LITERALS)).order_by(jobs.c.id)
)


class JobStore(LeaseHistory, TurnStore):
    """Jobs as rows. Two claimants never get the same one: PostgreSQL skips locked rows, SQLite has one writer."""

    def add_job(self, job: NewJob) -> Job:
        """Queue a job, or give back the unfinished one that has its dedupe key."""
        if job.dedupe_key is not None and (active := self.lock_active_job(job.dedupe_key)) is not None:
            return active
        order = {field.name: getattr(job, field.name) for field in fields(JobOrder)}
        order["interactive"], turn = self.lane_and_turn(job)
        current = self._tx.now()
        start = current + timedelta(seconds=job.delay_s)
        queued = Job(
            **order,
            id=new_id(IdPrefix.JOB),
            state=JobState.QUEUED,
            turn=turn,
            not_before=start,
            created_at=current,
        )
        try:
            with self._connection.begin_nested():
                self._insert(JOBS, queued)
        except IntegrityError as error:
            active = None if job.dedupe_key is None else self.lock_active_job(job.dedupe_key)
            if active is None:
                raise ConflictError(f"{job.kind.value} job cannot be queued: {error.orig}") from error
            return active
        if job.target.labels:
            self._put_labels(queued.id, job.target.labels)
        return queued

    def add_jobs(self, jobs: Sequence[NewJob]) -> tuple[Job, ...]:
        """`add` for each, in order."""
        return tuple(self.add_job(job) for job in jobs)

    def get_job(self, job_id: str) -> Job:
        """Read one job, whatever its state."""
        return self._get(JOBS, jobs.c.id, job_id, "job")

    def get_many(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Read those that are there, by id."""
        return {job.id: job for job in self._list_in(JOBS, jobs.c.id, job_ids)}

    def lock_job(self, job_id: str) -> Job:
        """Read one and hold it until the transaction ends."""
        return self._get(JOBS, jobs.c.id, job_id, "job", lock=True)

    def lock_active_job(self, dedupe_key: str) -> Job | None:
        """The unfinished job with this dedupe key, held so that it cannot finish before this transaction ends."""
        statement = JOBS.select(jobs.c.dedupe_key == dedupe_key, jobs.c.state.in_(_ACTIVE))
        return self._first(JOBS, statement.with_for_update(of=jobs))

    def find_done_job(self, dedupe_key: str) -> Job | None:
        """The newest DONE job with this dedupe key."""
        statement = JOBS.select(jobs.c.dedupe_key == dedupe_key, jobs.c.state == JobState.DONE)
        return self._first(JOBS, statement.order_by(jobs.c.id.desc()).limit(1))

    def active_jobs_under(self, latency_key: str, hardware_key: str) -> tuple[Job, ...]:
        """Unfinished jobs for this pair, by id."""
        return self._all_of(JOBS, _ACTIVE_UNDER, key_parameters(latency_key, hardware_key))

    def page_of_jobs(self, query: JobQuery, page: PageRequest) -> Page[Job]:
        """List the jobs that a query matches, newest first."""
        wanted = {
            jobs.c.kind: query.kinds,
            jobs.c.state: query.states,
            jobs.c.search_id: query.search_id,
            jobs.c.candidate_id: query.candidate_id,
            jobs.c.supernet_id: query.supernet_id,
            jobs.c.network_id: query.network_id,
            jobs.c.lease_owner: query.device_id,
        }
        statement = owned_by(where_given(JOBS.select(), wanted), jobs.c.owner_id, query.owner)
        return self._page(JOBS, statement, page, id_column=jobs.c.id, descending=True)

    def mean_job_duration_s(self, job: Job) -> float | None:
        """Mean time of the latest done jobs of its kind and pool, once the first attempt began; None without any."""
        statement = (
            sa.select(jobs.c.started_at, jobs.c.finished_at)
            .where(jobs.c.state == JobState.DONE, jobs.c.started_at.is_not(None), *same_pool(job))
            .order_by(jobs.c.finished_at.desc())
            .limit(NUM_TIMED)
        )
        # Over a clock that was set back a job ends before it begins: such a one tells nothing.
        spans_s = [
            (row.finished_at - row.started_at).total_seconds()
            for row in self._connection.execute(statement)
            if row.finished_at >= row.started_at
        ]
        return sum(spans_s) / len(spans_s) if spans_s else None

    def num_queued_of(self, owner_id: str) -> int:
        """How many jobs of an owner wait."""
        mine = sa.and_(jobs.c.state == JobState.QUEUED, jobs.c.owner_id == owner_id)
        return self._connection.execute(sa.select(sa.func.count()).select_from(jobs).where(mine)).scalar_one()

    def queue_depths(self) -> tuple[QueueDepth, ...]:
        """Queue depth of every kind."""
        statement = (
            sa.select(jobs.c.kind, jobs.c.state, sa.func.count())
            .where(jobs.c.state.in_(_ACTIVE))
            .group_by(jobs.c.kind, jobs.c.state)
        )
        counts = {(kind, state): int(number) for kind, state, number in self._connection.execute(statement)}
        return tuple(
            QueueDepth(
                kind=kind,
                num_queued=counts.get((kind, JobState.QUEUED), 0),
                num_leased=counts.get((kind, JobState.LEASED), 0),
            )
            for kind in JobKind
        )

    def active_jobs_of_search(self, search_id: str) -> tuple[Job, ...]:
        """Unfinished jobs of a search, by id."""
        return self._active(jobs.c.search_id == search_id)

    def active_jobs_of_training(
        self, *, supernet_id: str | None = None, network_id: str | None = None
    ) -> tuple[Job, ...]:
        """Unfinished jobs of a supernet, or of a network, by id."""
        of_network = jobs.c.network_id == network_id
        return self._active(of_network if supernet_id is None else jobs.c.supernet_id == supernet_id)

    def claim_job(self, request: ClaimRequest) -> Job | None:
        """Lease the first queued job the claimant may do; None where there is none."""
        job = self._only(JOBS, claim_statement(request), values_of(request))
        if job is None:
            return None
        if job.interactive and self.shared_is_due(request.owner):
            of_priority = {**values_of(request), "priority": job.priority}
            job = self._only(JOBS, shared_statement(request), of_priority) or job
        values: dict[str, Any] = {
            "state": JobState.LEASED,
            "lease_owner": request.owner,
            "lease_id": self.open_lease(job, request),
            "lease_epoch": job.lease_epoch + 1,
            "attempt": job.attempt + 1,
            "accepted": request.accepted,
            "cancel_requested": False,
            "phase": JobPhase.ASSIGNED,
        }
        after_s = {"lease_expires_at": request.ttl_s} | ({} if job.started_at else {"started_at": 0.0})
        return replace(job, **values, **self._update(job.id, values, after_s))

    def claimable_in_s(self, request: ClaimRequest) -> float | None:
        """Seconds until the claimant may do a queued job, 0 for now, None for none; writes and locks nothing."""
        values = values_of(request)
        if fetch(self._connection, ready_statement(request), values):
            return 0.0
        ((soonest, current),) = fetch(self._connection, soonest_statement(request), values)
        return None if soonest is None else max(0.0, (soonest - current).total_seconds())

    def gives_way(self, job: Job, request: ClaimRequest) -> bool:
        """Whether a person's order waits that goes before this job, which the claimant holds and has not begun."""
        if job.interactive or self.shared_is_due(request.owner, without=job.lease_id):
            return False
        following = fetch(self._connection, next_statement(request), values_of(request))
        return any(interactive and priority >= job.priority for priority, interactive in following)

    def renew_lease(self, job: Job, ttl_s: float, phase: JobPhase | None) -> None:
        """Push the expiry of a locked job's lease out, and accept it: its holder begins."""
        values = {"accepted": True} if phase is None else {"accepted": True, "phase": phase}
        begins = {"started_at": 0.0} if not job.accepted and job.attempt == 1 else {}
        self._update(job.id, values, {"lease_expires_at": ttl_s} | begins)
        if not job.accepted and job.lease_id is not None:
            self.begin_lease(job.lease_id)

    def hold_lease(self, job: Job, ttl_s: float) -> None:
        """Push the expiry of a locked job's lease out without accepting it: its holder has not begun."""
        self._update(job.id, {"phase": JobPhase.ASSIGNED}, {"lease_expires_at": ttl_s})

    def held_job(self, request: ClaimRequest) -> Job | None:
        """The first job the claimant may do that another holds ahead, being busy itself; not locked."""
        return self._only(JOBS, held_statement(request), values_of(request))

    def lock_job_of_lease(self, lease: LeaseRef) -> Job:
        """Lock the job if `lease` is its current one."""
        job = self.lock_job(lease.job_id)
        if job.state is not JobState.LEASED or job.lease != lease:
            raise LeaseLostError(lease.job_id, lease.lease_epoch)
        return job

    def expired_jobs(self, limit: int) -> tuple[Job, ...]:
        """Leased jobs whose lease has died, not locked; oldest expiry first."""
        statement = JOBS.select(*_DEAD).order_by(jobs.c.lease_expires_at, jobs.c.id).limit(limit)
        return self._list(JOBS, statement)

    def num_ahead_of_clock(self, ttls_s: Mapping[JobKind, float], delay_s: float) -> int:
        """Unfinished jobs whose lease or back-off ends later than any that is begun now would.

        Args:
            ttls_s: longest lease of a job, by its kind.
            delay_s: longest back-off.
        """
        return sum(
            int(self._connection.execute(sa.select(sa.func.count()).where(*late)).scalar_one())
            for late in (*(_leased_beyond(*longest) for longest in _by_length(ttls_s)), _delayed_beyond(delay_s))
        )

    def pull_back(self, ttls_s: Mapping[JobKind, float], delay_s: float) -> None:
        """Have those leases and back-offs end as if they were begun now."""
        for ttl_s, kinds in _by_length(ttls_s):
            leased = sa.update(jobs).where(*_leased_beyond(ttl_s, kinds))
            self._connection.execute(leased.values(lease_expires_at=later(ttl_s)))
        self._connection.execute(sa.update(jobs).where(*_delayed_beyond(delay_s)).values(not_before=now()))

    def lock_job_if_expired(self, job: Job) -> Job | None:
        """Lock a job of `expired` if that very lease is still its current one and dead; None otherwise."""
        statement = JOBS.select(
            jobs.c.id == job.id, jobs.c.lease_id == job.lease_id, jobs.c.lease_epoch == job.lease_epoch, *_DEAD
        )
        return self._first(JOBS, statement.with_for_update(skip_locked=True, of=jobs))

    def requeue_job(self, job: Job, delay_s: float, *, count_attempt: bool) -> None:
        """Put a locked, leased job back into the queue; its old fence can no longer write."""
        values = {
            "state": JobState.QUEUED,
            "attempt": job.attempt if count_attempt else max(job.attempt - 1, 0),
            "lease_expires_at": None,
            "accepted": False,
            "phase": None,
        }
        self._update(job.id, values, {"not_before": delay_s})

    def finish_job(self, job: Job) -> None:
        """Write a locked job's final state, failure, phase and result; it ends now."""
        values = {
            "state": job.state,
            "failure_type": job.failure_type,
            "failure_message": job.failure_message,
            "phase": job.phase,
            "result": job.result,
            "lease_expires_at": None,
        }
        self._update(job.id, values, {"finished_at": 0.0})

    def note_job_failure(self, job: Job, failure: Failure) -> None:
        """Write the last failure of a locked job, whatever its state."""
        self._update(job.id, {"failure_type": failure.type, "failure_message": failure.message})

    def request_cancel_of_job(self, job_id: str) -> None:
        """Ask the holder to stop; it learns of it at its next renewal."""
        self._update(job_id, {"cancel_requested": True})

    def assign_job_to(
        self, job_id: str, search_id: str, candidate_id: str, priority: int, owner: Principal | None
    ) -> None:
        """Let a job go on for another candidate, and for the owner of that one's search, in a turn of that owner's."""
        whose = self._passed_to(self.get_job(job_id), priority, owner)
        self._update(job_id, {"search_id": search_id, "candidate_id": candidate_id, **whose})

    def hand_job_to(self, job: Job, owner: Principal | None) -> None:
        """Let a job go on as another owner's, in a turn of that owner's."""
        self._update(job.id, self._passed_to(job, job.priority, owner))

    def _passed_to(self, job: Job, priority: int, owner: Principal | None) -> Mapping[str, Any]:
        """Whose a job is from now on, and its turn as that owner's; the turn that it has, where neither changes."""
        owner_id = None if owner is None else owner.id
        if priority == job.priority and owner_id == (None if job.owner is None else job.owner.id):
            return {}
        interactive, turn = self.lane_and_turn(replace(job, priority=priority, owner=owner))
        return {"priority": priority, "owner_id": owner_id, "interactive": interactive, "turn": turn}

    def jobs_leased_to(self, owner: str) -> tuple[Job, ...]:
        """Jobs that a worker, a device or an evaluator holds now, by id."""
        return self._active(jobs.c.lease_owner == owner, jobs.c.state == JobState.LEASED)

    def jobs_held_by(self, device_id: str, limit: int) -> tuple[Job, ...]:
        """The jobs of a device's latest leases, newest first."""
        held = (
            sa.select(leases.c.job_id, sa.func.max(leases.c.lease_id).label("newest"))
            .where(leases.c.device_id == device_id)
            .group_by(leases.c.job_id)
            .order_by(sa.desc("newest"))
            .limit(limit)
            .subquery()
        )
        statement = JOBS.select().join(held, held.c.job_id == jobs.c.id).order_by(held.c.newest.desc())
        return self._list(JOBS, statement)

    def exclude_owner_from_job(self, job_id: str, owner: str) -> None:
        """Do not give this job to this owner again."""
        self._insert_ignore(job_exclusions, [{"job_id": job_id, "owner": owner}])

    def _update(
        self, job_id: str, values: Mapping[str, Any], after_s: Mapping[str, float] | None = None
    ) -> Mapping[str, Any]:
        return update_row(self._connection, jobs.c.id, job_id, values, after_s)

    def _active(self, *conditions: sa.ColumnElement[bool]) -> tuple[Job, ...]:
        return self._list(JOBS, JOBS.select(jobs.c.state.in_(_ACTIVE), *conditions).order_by(jobs.c.id))


def _by_length(ttls_s: Mapping[JobKind, float]) -> tuple[tuple[float, tuple[JobKind, ...]], ...]:
    """The kinds of jobs whose longest leases are equally long."""
    lengths = dict.fromkeys(ttls_s.values())
    return tuple((length, tuple(kind for kind, ttl_s in ttls_s.items() if ttl_s == length)) for length in lengths)


def _leased_beyond(ttl_s: float, kinds: Sequence[JobKind]) -> tuple[sa.ColumnElement[bool], ...]:
    return (jobs.c.state == JobState.LEASED, jobs.c.kind.in_(kinds), jobs.c.lease_expires_at > later(ttl_s))


def _delayed_beyond(delay_s: float) -> tuple[sa.ColumnElement[bool], ...]:
    return (jobs.c.state == JobState.QUEUED, jobs.c.not_before > later(delay_s))
