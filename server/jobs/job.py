"""Jobs and leases: one mechanism for work of every kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.json_value import JsonValue
from server.access.principal import Principal
from server.jobs.states import JobKind, JobPhase, JobState, LeaseOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTarget:
    """Who may do a job. A default target may be done by anybody who takes jobs of its kind.

    Attributes:
        device_type: only devices of this type.
        pool_key: see `HardwareProfile.pool_key`; only devices that offer it.
        device_id: only this device (canary re-runs, reservations).
        labels: only claimants that carry all of these.
    """

    device_type: str | None = None
    pool_key: str | None = None
    device_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """What is to be done, by whom, and for what.

    Attributes:
        kind: what to do; `payload` says with what (see `server.jobs.payloads`).
        dedupe_key: while a job with this key is not final, adding another gives that one back instead.
        priority: higher first; within one priority owners take turns as their weights say, each with the oldest first.
        interactive: whether a person waits for this one alone, so that it goes before what searches order; of a job
            that is queued, whether it does: an owner has few such ones at a time (see `server.jobs.shares.turns`).
        max_attempts: leases that may fail or die before the job is FAILED.
        search_id, candidate_id, supernet_id, network_id: what it is done for.
        latency_key, hardware_key: what a measurement is filed under.
        owner: whose search, supernet, network or order it serves; None without authentication.
    """

    kind: JobKind
    payload: Mapping[str, JsonValue]
    dedupe_key: str | None = None
    priority: int = 0
    interactive: bool = False
    max_attempts: int = 3
    target: JobTarget = field(default_factory=JobTarget)
    search_id: str | None = None
    candidate_id: str | None = None
    supernet_id: str | None = None
    network_id: str | None = None
    latency_key: str | None = None
    hardware_key: str | None = None
    owner: Principal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob(JobOrder):
    """A job to be queued.

    Attributes:
        delay_s: earliest start from now, seconds; a longer one than failures give is cut by the next sweep.
    """

    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LeaseRef:
    """Names one lease of one job; every write of its holder carries it.

    Attributes:
        lease_epoch: the fence; grows with every lease of the job, older ones cannot write.
        lease_id: random; with the job and the attempt the idempotency key of a result.
    """

    job_id: str
    lease_id: str
    lease_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(JobOrder):
    """One piece of work.

    Attributes:
        id: ``job_...``.
        turn: its place among jobs of its line, priority and lane: an owner's unfinished jobs lie one over the owner's
            weight apart, upwards from the present, so that those who order few do not wait for all of one who orders
            many.
        attempt: leases so far that count; 1 during the first.
        lease_owner: worker or device id; kept after the lease has ended.
        lease_expires_at: by the database's clock; None unless LEASED.
        accepted: whether the holder has confirmed the lease (workers confirm by claiming).
        cancel_requested: the holder is asked to stop at its next renewal.
        phase: what the holder is doing.
        failure_type, failure_message: of the last failed attempt, kept when a later one succeeds.
        result: what the job gave, small JSON; None before DONE.
    """

    id: str
    state: JobState
    turn: int = 0
    attempt: int = 0
    not_before: datetime
    lease_owner: str | None = None
    lease_id: str | None = None
    lease_epoch: int = 0
    lease_expires_at: datetime | None = None
    accepted: bool = False
    cancel_requested: bool = False
    phase: JobPhase | None = None
    failure_type: FailureType | None = None
    failure_message: str = ""
    result: JsonValue = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def unbegun(self) -> bool:
        """Whether nobody works on it yet: it waits, or a device only holds it."""
        return self.state is JobState.QUEUED or (self.state is JobState.LEASED and not self.accepted)

    @property
    def lease(self) -> LeaseRef | None:
        """The current lease, or the last one; None for a job that was never leased."""
        return None if self.lease_id is None else LeaseRef(self.id, self.lease_id, self.lease_epoch)

    def id_in_result(self, key: str) -> str | None:
        """Give the id that the result names under a key, such as that of the job that follows a conversion."""
        id = self.result.get(key) if isinstance(self.result, Mapping) else None
        return None if id is None else str(id)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnersTaken:
    """Whose jobs a claimant is given.

    Attributes:
        ids: of owners.
        excepted: whether it takes everybody's jobs but theirs; else theirs alone.
        nobodys: whether it takes jobs without an owner.
    """

    ids: frozenset[str] = frozenset()
    excepted: bool = False
    nobodys: bool = False

    def include(self, owner: Principal | None) -> bool:
        """Whether jobs of an owner are among them; None for nobody."""
        return self.nobodys if owner is None else (owner.id in self.ids) is not self.excepted


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """What a claimant can do.

    Attributes:
        owner: worker id or device id.
        kinds: only jobs of these kinds.
        device_id: the claiming device; None for a worker.
        device_type: of the claiming device; jobs that ask for another are not given. None for a worker.
        search_id: only jobs of this search; None for any.
        pool_keys: what a device offers; jobs that ask for another are not given.
        labels: what the claimant carries.
        owners: only jobs of these; None for everybody's.
        ttl_s: the lease dies after so many seconds unless renewed.
        accepted: True for workers; an agent first confirms by renewing.
    """

    owner: str
    kinds: tuple[JobKind, ...]
    device_id: str | None = None
    device_type: str | None = None
    search_id: str | None = None
    pool_keys: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    owners: OwnersTaken | None = None
    ttl_s: float = 60.0
    accepted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """One lease in a job's history.

    Attributes:
        device_id: the device that held it; None for a worker.
        outcome: how it ended; None while it lasts.
        failure_type: why, where it failed.
        result_digest: sha256 of the result as sent; tells a repeated result from another one.
    """

    lease_id: str
    job_id: str
    lease_epoch: int
    attempt: int
    owner: str
    device_id: str | None = None
    claimed_at: datetime
    ended_at: datetime | None = None
    outcome: LeaseOutcome | None = None
    failure_type: FailureType | None = None
    failure_message: str = ""
    result_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs to list; None and () do not filter. Newest first."""

    kinds: tuple[JobKind, ...] = ()
    states: tuple[JobState, ...] = ()
    search_id: str | None = None
    candidate_id: str | None = None
    supernet_id: str | None = None
    network_id: str | None = None
    device_id: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Takers:
    """Who takes a job now.

    Attributes:
        num: devices that are online and given such jobs.
        last_seen_at: when one that fits was heard of last; None where none ever fitted.
        waiting_for: in words, what it waits for beside its turn; empty where there is nothing to say.
    """

    num: int
    last_seen_at: datetime | None = None
    waiting_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlace:
    """Where a queued job stands.

    Attributes:
        position: 1 for the next one of those that the same devices or workers do.
        takers: devices that take such jobs; None for workers, which are not registered.
        eta_s: until its likely end, from how long such jobs took lately; None before there was one, or without takers.
    """

    position: int
    takers: Takers | None = None
    eta_s: float | None = None

    @property
    def num_takers(self) -> int | None:
        """Number of devices that take such jobs now; None for workers."""
        return None if self.takers is None else self.takers.num


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """How many jobs of a kind wait and run."""

    kind: JobKind
    num_queued: int
    num_leased: int
