"""Owners who order, and boards that claim, at the real queue of a test's database; one board is one claimant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.access.principal import Principal
from server.access.store import PrincipalStore
from server.core.database.transaction import UnitOfWork
from server.core.ids import IdPrefix, new_id
from server.jobs.completion import complete_job
from server.jobs.job import ClaimRequest, Job, JobTarget, NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from tests.support.worlds.service_world import lease_of

POOL, OTHER_POOL = "a" * 64, "b" * 64
ONE_BOARD = "board-1"


@dataclass(frozen=True, slots=True)
class QueueWorld:
    """A queue, and what is done to it, one call at a time."""

    uow: UnitOfWork

    def owner(self, name: str, weight: float = 1.0) -> Principal:
        """The principal of a name, with its weight."""
        now = self.uow.read(lambda tx: tx.now())
        made = Principal(id=new_id(IdPrefix.PRINCIPAL), name=name, created_at=now)
        one = self.uow.write(lambda tx: PrincipalStore(tx).put_principal(made))
        return self.uow.write(lambda tx: PrincipalStore(tx).weigh_principal(one.id, weight))

    def order(
        self,
        who: Principal | None,
        num: int = 1,
        *,
        interactive: bool = False,
        priority: int = 0,
        kind: JobKind = JobKind.MEASURE,
        pool: str = POOL,
        device_type: str = "rk3588",
    ) -> tuple[Job, ...]:
        """Queue jobs for boards of a type."""
        target = JobTarget(device_type=device_type, pool_key=pool)
        new = NewJob(
            kind=kind, payload={}, owner=who, priority=priority, interactive=interactive, target=target, max_attempts=9
        )
        return self.uow.write(lambda tx: JobStore(tx).add_jobs([new] * num))

    def claim(
        self, board: str = ONE_BOARD, *, pools: Sequence[str] = (POOL,), device_type: str = "rk3588"
    ) -> Job | None:
        """Begin the next job of a board."""
        request = ClaimRequest(
            owner=board,
            kinds=(JobKind.MEASURE, JobKind.CLASSIFY),
            device_id=board,
            device_type=device_type,
            pool_keys=frozenset(pools),
        )
        return self.uow.write(lambda tx: JobStore(tx).claim_job(request))

    def finish(self, job: Job) -> None:
        """End a job that a board has begun."""
        lease = lease_of(job)
        self.uow.write(lambda tx: complete_job(tx, JobStore(tx).lock_job_of_lease(lease), None))

    def serve(self, num: int = 1, board: str = ONE_BOARD, *, pools: Sequence[str] = (POOL,)) -> list[Job]:
        """Have a board do so many jobs, one after the other; fewer where there are fewer."""
        done: list[Job] = []
        while len(done) < num and (job := self.claim(board, pools=pools)) is not None:
            self.finish(job)
            done.append(job)
        return done

    def place(self, job: Job) -> int:
        """Jobs that come before a queued one, those under way among them."""
        current = self.uow.read(lambda tx: JobStore(tx).get_job(job.id))
        return self.uow.read(lambda tx: JobStore(tx).num_jobs_ahead(current))


def names(jobs: Sequence[Job]) -> list[str]:
    """Whose jobs these are."""
    return ["nobody" if job.owner is None else job.owner.name for job in jobs]
