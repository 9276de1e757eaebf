"""Engines for SQLite and PostgreSQL, and which of their errors mean 'try again'."""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError

SQLITE_BUSY_TIMEOUT_S = 15.0
POOL_SIZE = 20  # connections a process may hold: its request threads, agents' long polls and the sweeper
POOL_OVERFLOW = 20
STATEMENT_TIMEOUT_MS = 60_000
IDLE_TRANSACTION_TIMEOUT_MS = 30_000
"""PostgreSQL ends a transaction in which nothing was said for so long: a server that freezes lets go of its rows."""
# PostgreSQL: serialisation failure, deadlock, lock not available, and lost connections (class 08, 57P0x).
_RETRYABLE_STATES = ("40001", "40P01", "55P03", "57P01", "57P02", "57P03")


def open_engine(url: str) -> sa.Engine:
    """An engine for ``sqlite:///FILE`` or ``postgresql+psycopg://...``.

    Raises:
        ValueError: another database, or SQLite in memory (processes could not share it).
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ValueError(f"database {url!r} lives in memory: name a file, so that processes can share it")
        return _open_sqlite(parsed)
    if parsed.get_backend_name() == "postgresql":
        timeouts = (
            f"-c statement_timeout={STATEMENT_TIMEOUT_MS} "
            f"-c idle_in_transaction_session_timeout={IDLE_TRANSACTION_TIMEOUT_MS}"
        )
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
            connect_args={"options": timeouts},
        )
    raise ValueError(f"database {url!r} is neither sqlite nor postgresql")


def is_retryable(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed when it is run again."""
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return "locked" in str(error.orig) or "busy" in str(error.orig)
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # no answer at all: the server is down or starting
        return isinstance(error, OperationalError)
    return state in _RETRYABLE_STATES or state.startswith("08")


_SQLITE_FULL = 13
_SQLITE_IO_ERRORS = (10, 14)  # IOERR, CANTOPEN: what a full disk gives where SQLite maps or makes its own files
_POSTGRES_FULL = ("53100",)


def is_disk_full(error: DBAPIError) -> bool:
    """Whether the database has no room to write."""
    if isinstance(error.orig, sqlite3.Error):
        return _primary_code(error.orig) == _SQLITE_FULL
    return getattr(error.orig, "sqlstate", None) in _POSTGRES_FULL


def is_disk_fault(error: DBAPIError) -> bool:
    """Whether the disk under SQLite failed, or a file of it could not be opened."""
    return isinstance(error.orig, sqlite3.Error) and _primary_code(error.orig) in _SQLITE_IO_ERRORS


def _primary_code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _open_sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(
        url,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_S, "check_same_thread": False},
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: the driver's own is deferred
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer takes the lock at once; a deferred one could fail in the middle of its work.
        immediate = connection.get_execution_options().get("hilnas_write", False)
        if immediate:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:  # takes no lock yet, so that nothing can go wrong: said to the driver, without SQLAlchemy's detour
            connection.connection.cursor().execute("BEGIN")

    return engine
