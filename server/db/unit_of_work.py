"""`UnitOfWork`: functions in transactions, with bounded retries and wake-ups after the commit."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from server.db.engine import SQLITE_BUSY_TIMEOUT_S, is_retryable
from server.db.stores.candidates import SqlArchitectureStore, SqlCandidateStore
from server.db.stores.classifications import SqlClassificationStore
from server.db.stores.devices import SqlDeviceStore
from server.db.stores.evaluations import SqlEvaluationStore
from server.db.stores.jobs import SqlJobStore
from server.db.stores.keeping import SqlArtifactRecords, SqlEventStore, SqlIdempotencyStore, SqlTokenStore
from server.db.stores.measurements import SqlMeasurementStore
from server.db.stores.searches import SqlCheckpointStore, SqlSearchStore
from server.db.stores.space_tables import SqlSpaceTableStore
from server.db.stores.studies import SqlStudyStore
from server.db.stores.supernets import SqlSupernetStore
from server.db.types import now
from server.db.wakeups import DatabaseWakeups, notification
from server.service.errors import InvalidValueError, UnavailableError
from server.service.ports.unit_of_work import Topic, Transaction

T = TypeVar("T")
MAX_TRIES = 6
FIRST_DELAY_S = 0.02  # doubles with every try, with jitter


class SqlTransaction:
    """Every store on one connection."""

    def __init__(self, connection: sa.Connection, *, writes: bool) -> None:
        self._connection = connection
        self._topics: set[Topic] = set()
        self.writes = writes

    @cached_property
    def searches(self) -> SqlSearchStore:
        """Searches."""
        return SqlSearchStore(self._connection)

    @cached_property
    def architectures(self) -> SqlArchitectureStore:
        """Architectures."""
        return SqlArchitectureStore(self._connection)

    @cached_property
    def candidates(self) -> SqlCandidateStore:
        """Candidates."""
        return SqlCandidateStore(self._connection)

    @cached_property
    def evaluations(self) -> SqlEvaluationStore:
        """Evaluations."""
        return SqlEvaluationStore(self._connection)

    @cached_property
    def checkpoints(self) -> SqlCheckpointStore:
        """Checkpoints."""
        return SqlCheckpointStore(self._connection)

    @cached_property
    def jobs(self) -> SqlJobStore:
        """Jobs."""
        return SqlJobStore(self._connection)

    @cached_property
    def measurements(self) -> SqlMeasurementStore:
        """Measurements."""
        return SqlMeasurementStore(self._connection)

    @cached_property
    def classifications(self) -> SqlClassificationStore:
        """Answers to image sets."""
        return SqlClassificationStore(self._connection)

    @cached_property
    def devices(self) -> SqlDeviceStore:
        """Devices."""
        return SqlDeviceStore(self._connection)

    @cached_property
    def supernets(self) -> SqlSupernetStore:
        """Supernets."""
        return SqlSupernetStore(self._connection)

    @cached_property
    def studies(self) -> SqlStudyStore:
        """Ranking studies."""
        return SqlStudyStore(self._connection)

    @cached_property
    def artifacts(self) -> SqlArtifactRecords:
        """Artifacts."""
        return SqlArtifactRecords(self._connection)

    @cached_property
    def space_tables(self) -> SqlSpaceTableStore:
        """Tables of results that are search spaces."""
        return SqlSpaceTableStore(self._connection)

    @cached_property
    def events(self) -> SqlEventStore:
        """Events."""
        return SqlEventStore(self._connection)

    @cached_property
    def tokens(self) -> SqlTokenStore:
        """API tokens."""
        return SqlTokenStore(self._connection)

    @cached_property
    def idempotency(self) -> SqlIdempotencyStore:
        """Idempotency keys."""
        return SqlIdempotencyStore(self._connection)

    def now(self) -> datetime:
        """The database's clock, UTC."""
        return self._connection.execute(sa.select(now())).scalar_one()

    def wake(self, topic: Topic) -> None:
        """Wake waiters once the transaction has committed."""
        self._topics.add(topic)

    def finish(self) -> frozenset[Topic]:
        """Store waiting events and send notifications; the last thing before a commit. Returns what to wake."""
        if self.events.has_new:
            self._topics.add(Topic.EVENTS)
        self.events.flush()
        for topic in sorted(self._topics, key=lambda t: t.value):
            self._connection.execute(notification(self._connection.dialect, topic))
        return frozenset(self._topics)


class SqlUnitOfWork:
    """Runs functions in transactions of one engine. Thread-safe; one per process."""

    def __init__(self, engine: sa.Engine, wakeups: DatabaseWakeups) -> None:
        self._engine = engine
        self._wakeups = wakeups
        self._local = threading.local()
        # SQLite has one writer: threads of this process take turns for it here. Left to SQLite they would poll for it,
        # each with a connection in hand, and some would starve.
        self._writer = threading.Lock() if engine.dialect.name == "sqlite" else None

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction that commits; joins the same thread's open write."""
        current = self._current
        if current is not None and current.writes:
            return work(current)
        return self._retried(work, writes=True)

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one transaction that writes nothing; joins an open one of the same thread."""
        current = self._current
        if current is not None:
            return work(current)
        return self._retried(work, writes=False)

    @property
    def _current(self) -> SqlTransaction | None:
        return getattr(self._local, "transaction", None)

    def _retried(self, work: Callable[[Transaction], T], *, writes: bool) -> T:
        for attempt in range(1, MAX_TRIES + 1):
            try:
                return self._once(work, writes=writes)
            except PoolTimeoutError as error:
                raise UnavailableError("every database connection is in use: try again later") from error
            except DataError as error:  # a NUL character, a number that is too large, text that is too long
                raise InvalidValueError(f"a value cannot be stored: {error.orig}") from error
            except DBAPIError as error:
                last_try = attempt == MAX_TRIES
                if last_try and (is_retryable(error) or isinstance(error, OperationalError)):
                    raise UnavailableError(
                        f"the database did not answer after {MAX_TRIES} tries: {error.orig}"
                    ) from error
                if last_try or not is_retryable(error):
                    raise
            time.sleep(FIRST_DELAY_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
        raise AssertionError("unreachable: the last try returns or raises")

    @contextmanager
    def _turn(self, *, writes: bool) -> Iterator[None]:
        if self._writer is None or not writes:
            yield
            return
        if not self._writer.acquire(timeout=SQLITE_BUSY_TIMEOUT_S):
            raise UnavailableError(
                f"other writers kept the database for {SQLITE_BUSY_TIMEOUT_S:.0f} s: try again later"
            )
        try:
            yield
        finally:
            self._writer.release()

    def _once(self, work: Callable[[Transaction], T], *, writes: bool) -> T:
        outer = self._current
        with (
            self._turn(writes=writes),
            self._engine.connect().execution_options(hilnas_write=writes) as connection,
            connection.begin() as database,
        ):
            transaction = SqlTransaction(connection, writes=writes)
            self._local.transaction = transaction
            try:
                result = work(transaction)
                topics = transaction.finish() if writes else frozenset[Topic]()
            finally:
                self._local.transaction = outer
            if writes:
                database.commit()
            else:
                database.rollback()
        for topic in topics:
            self._wakeups.wake(topic)
        return result
