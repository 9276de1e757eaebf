"""`UnitOfWork`: functions in transactions, with bounded retries and wake-ups after the commit."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from server.core.database.engine import SQLITE_BUSY_TIMEOUT_S, is_disk_fault, is_disk_full, is_retryable
from server.core.database.prepared import fetch, run
from server.core.database.types import now
from server.core.database.wakeups import Topic, Wakeups, notification
from server.core.errors import InvalidValueError, StorageFullError, UnavailableError

T = TypeVar("T")


MAX_TRIES = 6


MAX_WAITING_WRITERS = 64  # threads of a process that may wait for SQLite's one writer; the others are for readers


_NOW = sa.select(now())


FIRST_DELAY_S = 0.02  # doubles with every try, with jitter


class Transaction:
    """One transaction of one connection: what every store is built from."""

    def __init__(self, connection: sa.Connection, *, writes: bool) -> None:
        self.connection = connection
        self.writes = writes
        self._topics: set[Topic] = set()
        self._kept: dict[Topic, tuple[list[Any], Callable[[Any], None]]] = {}

    def now(self) -> datetime:
        """The database's clock, UTC."""
        ((current,),) = fetch(self.connection, _NOW, {})
        return current  # type: ignore[no-any-return]

    def wake(self, topic: Topic) -> None:
        """Wake waiters once the transaction has committed."""
        self._topics.add(topic)

    def before_commit(self, topic: Topic, value: T, write: Callable[[Sequence[T]], None]) -> None:
        """Keep a value until just before the commit: `write` is called once with all that were kept for a topic."""
        self._kept.setdefault(topic, ([], write))[0].append(value)
        self._topics.add(topic)

    def finish(self) -> frozenset[Topic]:
        """Write what was kept and send notifications; the last thing before a commit. Returns what to wake."""
        for values, write in self._kept.values():
            write(values)
        for topic in sorted(self._topics, key=lambda t: t.value):
            run(self.connection, notification(self.connection.dialect.name, topic), {})
        return frozenset(self._topics)


class UnitOfWork:
    """Runs functions in transactions of one engine. Thread-safe; one per process."""

    def __init__(self, engine: sa.Engine, wakeups: Wakeups) -> None:
        self._engine = engine
        self._wakeups = wakeups
        self._local = threading.local()
        # SQLite has one writer: threads of this process take turns for it here. Left to SQLite they would poll for it,
        # each with a connection in hand, and some would starve.
        self._writer = threading.Lock() if engine.dialect.name == "sqlite" else None
        self._waiting = threading.BoundedSemaphore(MAX_WAITING_WRITERS)

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
    def _current(self) -> Transaction | None:
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
                if is_disk_full(error):
                    raise StorageFullError(f"the database has no room to write ({error.orig})") from error
                if is_disk_fault(error):
                    raise UnavailableError(
                        f"the database's disk fails ({error.orig}): is it full, or read-only? GET /readyz says more",
                        retry_after_s=60,
                    ) from error
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
        if not self._waiting.acquire(blocking=False):
            raise UnavailableError(f"{MAX_WAITING_WRITERS} writers wait for the database already: try again later")
        try:
            if not self._writer.acquire(timeout=SQLITE_BUSY_TIMEOUT_S):
                raise UnavailableError(
                    f"other writers kept the database for {SQLITE_BUSY_TIMEOUT_S:.0f} s: try again later"
                )
            try:
                yield
            finally:
                self._writer.release()
        finally:
            self._waiting.release()

    def _connect(self, *, writes: bool) -> sa.Connection:
        connection = self._engine.connect()
        return connection.execution_options(hilnas_write=True) if writes else connection

    def _once(self, work: Callable[[Transaction], T], *, writes: bool) -> T:
        outer = self._current
        with (
            self._turn(writes=writes),
            self._connect(writes=writes) as connection,
            connection.begin() as database,
        ):
            transaction = Transaction(connection, writes=writes)
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
