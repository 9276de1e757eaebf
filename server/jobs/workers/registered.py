"""Workers as the server knows them: each registers when it starts, and beats for as long as it lives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from server.jobs.states import JobKind

BEAT_S = 3.0
DEAD_AFTER_S = 9.0  # three beats: with a look every 5 s, a death is said within 15 s
_START = "start one with 'hilnas worker'"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredWorker:
    """A process that does the jobs that no device does.

    Attributes:
        id: its host and process, or the name it was given; what its leases are held by.
        host, pid: where it runs.
        version: of hilnas there.
        kinds: of jobs that it does.
        started_at, beat_at: when it registered, and when it was heard of last, by the database's clock.
        left_at: when it said goodbye; None while it runs, and where it died.
    """

    id: str
    host: str
    pid: int
    version: str
    kinds: tuple[JobKind, ...]
    started_at: datetime
    beat_at: datetime
    left_at: datetime | None = None

    def lives(self, now: datetime) -> bool:
        """Whether it was heard of lately, and did not say goodbye.

        A beat of the future is from before the clock was set back: if it lives, the next one is due at once.
        """
        return self.left_at is None and abs(now - self.beat_at) <= timedelta(seconds=DEAD_AFTER_S)


def absence(workers: tuple[RegisteredWorker, ...], kind: JobKind, now: datetime) -> str:
    """In words, that no worker lives that does jobs of a kind; empty where one does."""
    able = [worker for worker in workers if kind in worker.kinds]
    if any(worker.lives(now) for worker in able):
        return ""
    if not able:
        others = " that does such jobs" if any(worker.lives(now) for worker in workers) else ""
        return f"no worker{others} is running: {_START}"
    last = max(able, key=lambda worker: worker.beat_at)
    return f"no worker lives: {last.id} {_last_seen(last, now)}; {_START}"


def death(workers: tuple[RegisteredWorker, ...], owner: str, kind: JobKind, now: datetime) -> str:
    """In words, that the worker that has a job has died, and whether another lives that can take it over; empty where
    it lives, or is not known.
    """
    worker = next((one for one in workers if one.id == owner), None)
    if worker is None or worker.lives(now):
        return ""
    gone = f"worker {worker.id}, which has the job, {_last_seen(worker, now)}"
    if absence(workers, kind, now):
        return f"{gone}, and no other lives: {_START}"
    return f"{gone}: another takes over when its lease ends"


def _last_seen(worker: RegisteredWorker, now: datetime) -> str:
    how = "was stopped" if worker.left_at is not None else "was last heard of"
    ago_s = max(0.0, (now - (worker.left_at or worker.beat_at)).total_seconds())
    return f"{how} {ago_s:.0f} s ago"
