"""`Wakeups`: waiting for what other threads and other processes commit, without asking all the time.

Threads of this process are woken by a condition. Other processes are heard through LISTEN/NOTIFY on
PostgreSQL (0.06 ms), and on SQLite through ``PRAGMA data_version``, which changes with every commit of
another connection and costs microseconds to look at; which topics were woken, a small table then tells.
"""

from __future__ import annotations

import threading
from enum import Enum
from functools import cache
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from server.core.database.metadata import metadata
from server.core.database.types import Label

# How often each topic was woken. SQLite has no notifications: other processes compare these counts.
wake_counts = sa.Table(
    "wake_counts",
    metadata,
    sa.Column("topic", Label, primary_key=True),
    sa.Column("num_wakes", sa.BigInteger, nullable=False),
)


T = TypeVar("T")


class Topic(Enum):
    """What waiters wait for."""

    WORKER_JOBS = "worker_jobs"
    DEVICE_JOBS = "device_jobs"
    TRIALS = "trials"
    EVENTS = "events"


SQLITE_LOOK_S = 0.05  # how often another process' commits are looked for


LISTEN_S = 1.0  # how long one wait for notifications lasts, so that close() is heard


RECONNECT_S = 1.0


@cache
def notification(dialect_name: str, topic: Topic) -> sa.Executable:
    """The statement that tells other processes of a wake, with the transaction it is part of."""
    if dialect_name == "postgresql":
        return sa.select(sa.func.pg_notify(topic.value, ""))
    return (
        sqlite.insert(wake_counts)
        .values(topic=topic.value, num_wakes=1)
        .on_conflict_do_update(index_elements=["topic"], set_={"num_wakes": wake_counts.c.num_wakes + 1})
    )


class Wakeups:
    """Counts wakes per topic. Thread-safe; `start` listens to other processes, `close` ends it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._counts = dict.fromkeys(Topic, 0)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen to other processes, in a thread of its own."""
        listen = self._listen_postgresql if self._engine.dialect.name == "postgresql" else self._look_sqlite
        self._thread = threading.Thread(target=listen, name="database-wakeups", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; waiters return."""
        self._closed.set()
        self._wake_all()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def wake(self, topic: Topic) -> None:
        """Wake this process' waiters of a topic."""
        with self._changed:
            self._counts[topic] += 1
            self._changed.notify_all()

    def token(self, topic: Topic) -> int:
        """Number that grows with every wake of the topic."""
        with self._changed:
            return self._counts[topic]

    def wait(self, topic: Topic, token: int, timeout_s: float) -> bool:
        """True as soon as the topic was woken after `token`, False after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._counts[topic] > token or self._closed.is_set(), timeout=max(timeout_s, 0.0)
            )

    def _wake_all(self) -> None:
        for topic in Topic:
            self.wake(topic)

    def _look_sqlite(self) -> None:
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            last: object = None
            counts: dict[str, int] | None = None
            while not self._closed.wait(SQLITE_LOOK_S):
                version = cursor.execute("PRAGMA data_version").fetchone()
                if version == last:
                    continue
                last = version
                found = dict(cursor.execute("SELECT topic, num_wakes FROM wake_counts").fetchall())
                for topic in Topic:
                    if counts is None or found.get(topic.value) != counts.get(topic.value):
                        self.wake(topic)
                counts = found
        finally:
            connection.close()

    def _listen_postgresql(self) -> None:
        import psycopg  # only where PostgreSQL is used: the extra may be absent elsewhere

        url = self._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        while not self._closed.is_set():
            try:
                with psycopg.connect(url, autocommit=True) as connection:
                    for topic in Topic:
                        connection.execute(f"LISTEN {topic.value}")
                    self._wake_all()  # what was notified while nobody listened
                    while not self._closed.is_set():
                        for notification in connection.notifies(timeout=LISTEN_S):
                            self.wake(Topic(notification.channel))
            except psycopg.OperationalError:
                self._closed.wait(RECONNECT_S)
