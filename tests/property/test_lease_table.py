"""The lease table as a state machine: whatever happens in whatever order, no job is lost and none has two owners."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from nas_engine.domain.host.scratch import scratch_folder
from nas_engine.domain.job_protocol import FailureType
from server.bootstrap.job_kinds import all_job_kinds
from server.core.errors import LeaseLostError
from server.jobs.dispatch import Dispatch
from server.jobs.failures import Failure, policy_of
from server.jobs.job import LeaseRef, NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobState, LeaseOutcome
from tests.support.worlds.databases import TestDatabase, opened, place_migrated
from tests.support.worlds.service_world import lease_of

MAX_ATTEMPTS = 3
FAILURES = (FailureType.WORKER_ERROR, FailureType.INVALID_INPUT, FailureType.AGENT_SHUTDOWN)


@dataclass
class Expected:
    """What the model knows of one job."""

    state: JobState = JobState.QUEUED
    current: LeaseRef | None = None
    attempts: int = 0
    epoch: int = 0
    dead: bool = False
    leases: list[LeaseRef] = field(default_factory=list)


class LeaseTable(RuleBasedStateMachine):
    """Claim, renew, complete, fail, let die and sweep, against a model in memory."""

    leases: Bundle[LeaseRef] = Bundle("leases")

    @initialize()
    def start(self) -> None:
        """A fresh database with a few jobs."""
        self._stack = ExitStack()
        path = self._stack.enter_context(scratch_folder("hilnas-lease-table-")) / "hilnas.sqlite"
        place_migrated(path)
        self.database: TestDatabase = self._stack.enter_context(opened(f"sqlite:///{path}"))
        self.dispatch = Dispatch(self.database.uow, self.database.wakeups, all_job_kinds())
        self.jobs: dict[str, Expected] = {}

    def teardown(self) -> None:
        """Close the database."""
        if hasattr(self, "_stack"):
            self._stack.close()

    @rule(priority=st.integers(0, 2))
    def add(self, priority: int) -> None:
        """Queue a job."""
        new = NewJob(kind=JobKind.TRAIN, payload={"supernet_id": "x"}, priority=priority, max_attempts=MAX_ATTEMPTS)
        job = self.database.uow.write(lambda tx: JobStore(tx).add_job(new))
        self.jobs[job.id] = Expected()

    @rule(target=leases, owner=st.sampled_from(["a", "b", "c"]))
    def claim(self, owner: str) -> MultipleResults[LeaseRef] | LeaseRef:
        """Lease the next job."""
        self.database.skip_backoff()
        job = self.dispatch.claim(owner, (JobKind.TRAIN,))
        queued = [job_id for job_id, expected in self.jobs.items() if expected.state is JobState.QUEUED]
        if job is None:
            assert queued == []
            return multiple()
        expected, lease = self.jobs[job.id], lease_of(job)
        assert job.id in queued
        assert lease.lease_epoch == expected.epoch + 1, "the fence grows by one with every lease"
        assert job.lease_owner == owner
        expected.state, expected.current, expected.dead = JobState.LEASED, lease, False
        expected.attempts, expected.epoch = expected.attempts + 1, lease.lease_epoch
        expected.leases.append(lease)
        assert job.attempt == expected.attempts
        return lease

    @rule(lease=leases)
    def renew(self, lease: LeaseRef) -> None:
        """Keep a lease alive: the current one is renewed, any other is lost."""
        if self._is_current(lease):
            self.dispatch.renew(lease)
            self.jobs[lease.job_id].dead = False
        else:
            self._must_be_lost(lambda: self.dispatch.renew(lease))

    @rule(lease=leases)
    def complete(self, lease: LeaseRef) -> None:
        """End a job: only its current holder can."""
        if self._is_current(lease):
            self.dispatch.complete(lease, {"fence": lease.lease_epoch})
            self._ended(lease, JobState.DONE)
        else:
            self._must_be_lost(lambda: self.dispatch.complete(lease))

    @rule(lease=leases, failure=st.sampled_from(FAILURES))
    def fail(self, lease: LeaseRef, failure: FailureType) -> None:
        """Report a failed attempt: only the current holder can."""
        if not self._is_current(lease):
            self._must_be_lost(lambda: self.dispatch.fail(lease, Failure(failure, "no")))
            return
        expected, policy = self.jobs[lease.job_id], policy_of(failure)
        state = self.dispatch.fail(lease, Failure(failure, "no"))
        again = policy.retryable and (expected.attempts < MAX_ATTEMPTS or not policy.counts_attempt)
        assert state is (JobState.QUEUED if again else JobState.FAILED)
        self._ended(lease, state)
        expected.attempts -= 0 if policy.counts_attempt else 1

    @rule(lease=leases)
    def let_die(self, lease: LeaseRef) -> None:
        """The current lease's time passes without a renewal."""
        if self._is_current(lease):
            self.database.kill_lease(lease.job_id)
            self.jobs[lease.job_id].dead = True

    @rule()
    def sweep(self) -> None:
        """Dead leases go back into the queue, or fail the job after its last attempt; live ones stay."""
        dead = [(job_id, e) for job_id, e in self.jobs.items() if e.dead]
        report = self.dispatch.sweep()
        for _, expected in dead:
            assert expected.current is not None
            last = expected.attempts >= MAX_ATTEMPTS
            self._ended(expected.current, JobState.FAILED if last else JobState.QUEUED)
        assert report.num_requeued + report.num_failed == len(dead)

    @invariant()
    def nothing_is_lost_and_nobody_shares(self) -> None:
        """Every job is where the model says, with one live lease at most and a complete history."""
        if not hasattr(self, "database"):
            return
        for job_id, expected in self.jobs.items():
            job = self.dispatch.get(job_id)
            assert job.state is expected.state
            assert (job.attempt, job.lease_epoch) == (expected.attempts, expected.epoch)
            history = self.dispatch.history(job_id)
            assert [record.lease_id for record in history] == [lease.lease_id for lease in expected.leases]
            live = [record for record in history if record.outcome is None]
            assert len(live) == (1 if expected.state is JobState.LEASED else 0)
            done = [record for record in history if record.outcome is LeaseOutcome.DONE]
            assert len(done) == (1 if expected.state is JobState.DONE else 0)
            assert (job.lease_expires_at is not None) == (expected.state is JobState.LEASED)
            if job.state is JobState.DONE:
                assert job.result == {"fence": expected.epoch}, "the result is that of the last lease"

    def _is_current(self, lease: LeaseRef) -> bool:
        expected = self.jobs[lease.job_id]
        return expected.state is JobState.LEASED and expected.current == lease

    def _ended(self, lease: LeaseRef, state: JobState) -> None:
        expected = self.jobs[lease.job_id]
        expected.state, expected.current, expected.dead = state, None, False

    @staticmethod
    def _must_be_lost(write: object) -> None:
        try:
            write()  # type: ignore[operator]
        except LeaseLostError:
            return
        raise AssertionError("a lease that is not current could write")


def test_no_order_of_events_loses_or_doubles_a_job() -> None:
    quick = settings(
        max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(LeaseTable, settings=quick)
