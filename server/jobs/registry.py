"""The registry of job kinds: what is done for a kind, by whom, and what its failure means to those who wait for it.

Jobs, leases and dispatch know no kind. Every concern declares its own in a `job_kinds.py`; bootstrap puts them
together, once for the API process and once for a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta

from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.wakeups import Topic
from server.core.errors import InvalidValueError
from server.jobs.failures import Failure, FinalFailure
from server.jobs.job import Job, Takers
from server.jobs.payloads import Payload
from server.jobs.states import JobKind


class Executor:
    """Who does jobs of a kind. This one is a lane of the workers: a thread in each of them that does one job after the
    other. Workers are not registered, so nothing is known of their number or their health; devices override all of it.
    """

    def __init__(self, name: str, topic: Topic = Topic.WORKER_JOBS) -> None:
        self.name = name
        self.topic = topic

    def has_other(self, tx: Transaction, job: Job, feature: str, excluding: str) -> bool:
        """Whether a job could be done by another than `excluding`; False where that is not known.

        Args:
            feature: optional part of the protocol they must know; empty for none.
        """
        return False

    def takers(self, tx: Transaction, job: Job, feature: str, timeout: timedelta) -> Takers | None:
        """Who takes a job now; None where that is not known.

        Args:
            feature: optional part of the protocol they must know; empty for none.
            timeout: whoever was not heard of for longer is away.
        """
        return None

    def note_contact(self, tx: Transaction, owner: str) -> None:
        """The holder of a lease was heard of just now."""

    def note_failure(self, tx: Transaction, owner: str, job: Job, failure: Failure) -> None:
        """A job failed in a way that the failure's policy blames on its holder."""

    def note_success(self, tx: Transaction, owner: str) -> None:
        """A job was done: failures in a row end here."""


SHORT_LANE = Executor("short")
"""Steps of searches: they take a moment, and boards wait for what they order."""

CONVERT_LANE = Executor("convert")
"""Conversions: a process of their own does the work, for minutes."""

FIT_LANE = Executor("fit")
"""Fits of predictors: seconds each, on one core; neither steps nor trainings wait for them."""

HEAVY_LANE = Executor("heavy")
"""What keeps the worker's own processor or GPU busy: one at a time."""


Hook = Callable[[Transaction, Job], object]


FailedHook = Callable[[Transaction, Job, FinalFailure], object]


def nothing(tx: Transaction, job: Job) -> None:
    """A hook that has nothing to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindOfJob:
    """One kind of job. Hooks run inside the transaction of what happened, on the locked job.

    What its completion means is not here: whoever does a job commits its effects and its end in one transaction
    (handlers of the workers, `server.jobs.results` for devices).

    Attributes:
        kind: as stored and as REST names it.
        payload: type of the job's payload.
        executor: who does it.
        feature: optional part of the protocol a device must know to be given it; empty for none.
        failed: it failed and is not tried again; tells everybody who waited for it.
        lock_first: locks what the job's end concerns; called before the job is locked.
        claimed: somebody has leased it.
        brought: in words, what of other packages runs in the holder's process; empty where it is our code alone.
        counted_with: beginning of the keys of the jobs whose holders' deaths over what packages bring count with its
            own; empty for those of its search.
        cancelled: it ended as CANCELLED by the wish of a user, after its holder had stopped.
        search_paused: the search it works for is being paused; called on unfinished jobs.
        queue_missing: queues what should be queued and is not, e.g. after a crash; returns how many.
        cancellable_alone: whether a user may cancel one that belongs to no search and no supernet.
        longest_lease_s: how long a lease may be asked for without renewal; None for as long as the service grants.
    """

    kind: JobKind
    payload: type[Payload]
    executor: Executor
    feature: str = ""
    failed: FailedHook
    lock_first: Hook = nothing
    claimed: Hook = nothing
    brought: Callable[[Transaction, Job], str] = lambda _tx, _job: ""
    counted_with: Callable[[Job], str] = lambda _job: ""
    cancelled: Hook = nothing
    search_paused: Hook = nothing
    queue_missing: Callable[[UnitOfWork], int] | None = None
    cancellable_alone: bool = True
    longest_lease_s: float | None = None


class JobKinds:
    """Every kind of job of a process, by its `JobKind`."""

    def __init__(self, *kinds: KindOfJob) -> None:
        self._kinds = {one.kind: one for one in kinds}
        if len(self._kinds) != len(kinds):
            raise InvalidValueError("a kind of job is registered twice: " + ", ".join(one.kind.value for one in kinds))

    def __getitem__(self, kind: JobKind) -> KindOfJob:
        if kind not in self._kinds:
            raise InvalidValueError(f"jobs of kind {kind.value} are not registered in this process: upgrade it")
        return self._kinds[kind]

    def __iter__(self) -> Iterator[KindOfJob]:
        return iter(self._kinds.values())

    def of_workers(self) -> tuple[JobKind, ...]:
        """Kinds that workers do."""
        return tuple(one.kind for one in self if one.executor.topic is Topic.WORKER_JOBS)

    def of_devices(self, features: Collection[str]) -> tuple[JobKind, ...]:
        """Kinds that a device with these features can be given: what it does not know, it gets none of."""
        devices = (one for one in self if one.executor.topic is Topic.DEVICE_JOBS)
        return tuple(one.kind for one in devices if not one.feature or one.feature in features)

    def lanes(self, kinds: Collection[JobKind]) -> dict[Executor, tuple[JobKind, ...]]:
        """Those of `kinds` that each lane of a worker does."""
        lanes: dict[Executor, tuple[JobKind, ...]] = {}
        for one in self:
            if one.kind in kinds and one.executor.topic is Topic.WORKER_JOBS:
                lanes[one.executor] = (*lanes.get(one.executor, ()), one.kind)
        return lanes
