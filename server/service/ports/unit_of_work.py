"""Transactions as a port: several stores, one commit. And how processes wake each other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Protocol, TypeVar

from server.service.ports.classifying import ClassificationStore
from server.service.ports.keeping import (
    ArtifactRecords,
    EventStore,
    IdempotencyStore,
    SpaceTableStore,
    SupernetStore,
    TokenStore,
)
from server.service.ports.searching import (
    ArchitectureStore,
    CandidateStore,
    CheckpointStore,
    EvaluationStore,
    SearchStore,
)
from server.service.ports.studies import StudyStore
from server.service.ports.working import DeviceStore, JobStore, MeasurementStore

T = TypeVar("T")


class Topic(Enum):
    """What waiters wait for."""

    WORKER_JOBS = "worker_jobs"
    DEVICE_JOBS = "device_jobs"
    EVENTS = "events"


class Transaction(Protocol):
    """Every store inside one transaction."""

    @property
    def searches(self) -> SearchStore: ...
    @property
    def architectures(self) -> ArchitectureStore: ...
    @property
    def candidates(self) -> CandidateStore: ...
    @property
    def evaluations(self) -> EvaluationStore: ...
    @property
    def checkpoints(self) -> CheckpointStore: ...
    @property
    def jobs(self) -> JobStore: ...
    @property
    def measurements(self) -> MeasurementStore: ...
    @property
    def classifications(self) -> ClassificationStore: ...
    @property
    def devices(self) -> DeviceStore: ...
    @property
    def supernets(self) -> SupernetStore: ...
    @property
    def studies(self) -> StudyStore: ...
    @property
    def artifacts(self) -> ArtifactRecords: ...
    @property
    def space_tables(self) -> SpaceTableStore: ...
    @property
    def events(self) -> EventStore: ...
    @property
    def tokens(self) -> TokenStore: ...
    @property
    def idempotency(self) -> IdempotencyStore: ...

    def now(self) -> datetime:
        """The database's clock, UTC."""

    def wake(self, topic: Topic) -> None:
        """Wake waiters, of this process and of others, once the transaction has committed."""


class UnitOfWork(Protocol):
    """Runs functions in transactions. Thread-safe; one per process."""

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction that commits when it returns and rolls back when it raises.

        `work` is run again after a serialisation failure, so it must have no effect outside the transaction. Inside
        another `write` of the same thread it joins that transaction.

        Raises:
            UnavailableError: the database cannot be reached, or gave up after bounded retries.
        """

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction that writes nothing; joins an open one of the same thread."""


class Wakeups(Protocol):
    """Waiting for something to happen without asking all the time.

    Take a token, look for what you want, and wait with the token only where it is not there: what happens between
    looking and waiting is not missed.
    """

    def token(self, topic: Topic) -> int:
        """Number that grows with every wake of the topic."""

    def wait(self, topic: Topic, token: int, timeout_s: float) -> bool:
        """Return True as soon as the topic was woken after `token`, False after `timeout_s`. May return early."""
