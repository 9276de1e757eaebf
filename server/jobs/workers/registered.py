"""Workers as the server knows them: each registers when it starts, and beats for as long as it lives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from server.jobs.states import JobKind

BEAT_S = 3.0
DEAD_AFTER_S = 9.0  # three beats: with a look every 5 s, a death is said within 15 s


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
    start = "start one with 'hilnas worker'"
    if not able:
        others = " that does such jobs" if any(worker.lives(now) for worker in workers) else ""
        return f"no worker{others} is running: {start}"
    last = max(able, key=lambda worker: worker.beat_at)
    how = "was stopped" if last.left_at is not None else "was last heard of"
    ago_s = max(0.0, (now - (last.left_at or last.beat_at)).total_seconds())
    return f"no worker lives: {last.id} {how} {ago_s:.0f} s ago; {start}"


def death(workers: tuple[RegisteredWorker, ...], owner: str, now: datetime) -> str:
    """In words, that the worker that has a job has died; empty where it lives, or is not known."""
    worker = next((one for one in workers if one.id == owner), None)
    if worker is None or worker.lives(now):
        return ""
    return (
        f"worker {worker.id}, which has the job, was last heard of "
        f"{max(0.0, (now - worker.beat_at).total_seconds()):.0f} s ago: "
        "another takes over when its lease ends"
    )
