"""The table of workers, and its store."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import sqlalchemy as sa

from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.store import Store
from server.core.database.types import Id, JsonOf, Label, Timestamp
from server.jobs.job import Job
from server.jobs.states import JobKind, JobState
from server.jobs.tables import JOBS, jobs
from server.jobs.workers.registered import RegisteredWorker

KEPT = timedelta(days=1)  # the dead are listed so long

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("host", Label, nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("version", Label, nullable=False),
    sa.Column("kinds", JsonOf(tuple[JobKind, ...]), nullable=False),
    sa.Column("started_at", Timestamp, nullable=False),
    sa.Column("beat_at", Timestamp, nullable=False),
    sa.Column("left_at", Timestamp),
)
WORKERS = Rows(RegisteredWorker, workers)


class WorkerStore(Store):
    """Workers as rows."""

    def beat(self, worker: RegisteredWorker) -> None:
        """Note that a worker lives; the first beat registers it, and forgets those that died long ago."""
        now = self._tx.now()
        beaten = sa.update(workers).where(workers.c.id == worker.id).values(beat_at=now, left_at=None)
        if self._connection.execute(beaten).rowcount:
            return
        self._connection.execute(sa.delete(workers).where(workers.c.beat_at < now - KEPT))
        self._insert(WORKERS, replace(worker, started_at=now, beat_at=now))

    def leave(self, worker_id: str) -> None:
        """Note that a worker said goodbye."""
        self._connection.execute(sa.update(workers).where(workers.c.id == worker_id).values(left_at=self._tx.now()))

    def all_workers(self) -> tuple[RegisteredWorker, ...]:
        """Every worker that is remembered, the last heard of first."""
        return self._list(WORKERS, WORKERS.select().order_by(workers.c.beat_at.desc(), workers.c.id))

    def jobs_of_workers(self) -> tuple[Job, ...]:
        """The jobs that workers have now."""
        leased = JOBS.select(jobs.c.state == JobState.LEASED, jobs.c.lease_owner.in_(sa.select(workers.c.id)))
        return self._list(JOBS, leased.order_by(jobs.c.id))
