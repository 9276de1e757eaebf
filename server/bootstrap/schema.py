"""Bringing a database to the newest schema, one process at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from server.access import store as access
from server.access.changes import store as change_store
from server.artifacts import store as artifacts
from server.bootstrap.settings import Settings
from server.candidates import search_store
from server.candidates import tables as candidate_tables
from server.classifying import store as classifying
from server.core import events as event_store
from server.core import idempotency as idempotency_store
from server.core.database import labels, wakeups
from server.core.database import metadata as metadata_module
from server.core.database.engine import is_retryable, open_engine
from server.core.database.metadata import metadata
from server.core.database.sqlite_file import MAX_QUICK_BYTES, damage_of, looked_through, was_ended_cleanly
from server.core.home import ADMIN_TOKEN_FILE
from server.fleet import store as fleet
from server.jobs import tables as jobs
from server.jobs.workers import store as workers
from server.latencies.predictors import store as latency_predictors
from server.latency_tables import store as latency_tables
from server.measuring import store as measuring
from server.measuring.canaries import store as canary_store
from server.searches.amending import store as amending
from server.searches.what_if import store as what_ifs
from server.spaces import store as spaces
from server.studies import store as studies
from server.training import store as training
from server.training.curves import store as curves
from server.training.networks import store as networks

PATIENCE_S = 60.0


PAUSE_S = 0.5


_LEAST_FREE_BYTES = 1 << 20  # of a new database's tables and its log


def open_database(settings: Settings) -> sa.Engine:
    """The engine of the settings' database, at the newest schema.

    Raises:
        OSError: the home folder cannot be made, the database stays away, is damaged, no database at all, or newer
            than this code; the message is one line for people.
    """
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        engine = open_engine(settings.effective_database_url)
    except (ValueError, sa.exc.ArgumentError) as error:
        raise OSError(f"the database cannot be used: {error}") from error
    name = engine.url.render_as_string(hide_password=True)
    _refuse_damaged(settings, engine, name)
    deadline = time.monotonic() + PATIENCE_S
    while True:  # ends at the deadline
        try:
            refuse_unusable(engine, name)
            migrate(engine)
            return engine
        except sa.exc.OperationalError as error:
            if not is_retryable(error):
                raise OSError(f"database {name} cannot be used: {error.orig}; {_remedy(engine)}") from error
            if time.monotonic() > deadline:
                raise OSError(f"database {name} does not answer: {error.orig}") from error
            time.sleep(PAUSE_S)
        except sa.exc.DBAPIError as error:
            raise OSError(f"database {name} is damaged, or none of hilnas: {error.orig}; restore a backup") from error


def _remedy(engine: sa.Engine) -> str:
    """What to do about a database that cannot be opened: SQLite says the same of full, locked-up and broken disks."""
    if engine.dialect.name == "sqlite":
        folder = Path(str(engine.url.database)).absolute().parent
        if folder.exists() and shutil.disk_usage(folder).free < _LEAST_FREE_BYTES:
            return f"the disk of {folder} is full: make room"
        if not os.access(folder, os.W_OK):
            return f"{folder} cannot be written: mount it for writing, or give it to this user"
    return "see whether its file may be read and written, or restore a backup"


def _refuse_damaged(settings: Settings, engine: sa.Engine, name: str) -> None:
    """Look for damage to a SQLite file that would not show before somebody reads what is lost, or never.

    Raises:
        OSError: there is some.
    """
    if engine.dialect.name != "sqlite":
        return
    path = Path(str(engine.url.database))
    if (damage := damage_of(path, used=_is_used(settings))) is not None:
        raise OSError(f"database {name} is damaged: {damage}")
    # A file that somebody else has open is not torn by a crash now, yet cannot be told from one that was.
    if not path.exists() or was_ended_cleanly(path) or path.stat().st_size > MAX_QUICK_BYTES:
        return
    try:
        found = looked_through(path, thorough=False)
    except sqlite3.Error:  # opening it for good says what, and whether trying again helps
        return
    if found:
        raise OSError(f"database {name} is damaged: {found[0]}; 'hilnas db check' tells more, restore a backup")


def _is_used(settings: Settings) -> bool:
    """Whether a server has run in the home folder before."""
    return (settings.home / ADMIN_TOKEN_FILE).exists()


def faults_of_database(settings: Settings) -> tuple[str, ...]:
    """What is wrong with the settings' database, a line each; reads all of it and writes nothing.

    A server may use it meanwhile.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    try:
        engine = open_engine(settings.effective_database_url)
    except (ValueError, sa.exc.ArgumentError) as error:
        raise OSError(f"the database cannot be used: {error}") from error
    name = engine.url.render_as_string(hide_password=True)
    try:
        if engine.dialect.name == "sqlite":
            path = Path(str(engine.url.database))
            if not path.exists():
                raise OSError(f"there is no database {path}: name its folder with --home, or HILNAS_HOME")
            if (damage := damage_of(path, used=_is_used(settings))) is not None:
                return (damage,)
            if found := looked_through(path, thorough=True):
                return tuple(found)
            engine = sa.create_engine(f"sqlite:///{path.absolute().as_uri()}?mode=ro&uri=true")
        fault = _fault(engine, name)
        return () if fault is None else (fault,)
    except (sqlite3.Error, sa.exc.DBAPIError) as error:
        raise OSError(f"database {name} cannot be read: {getattr(error, 'orig', error)}") from error
    finally:
        engine.dispose()


def refuse_unusable(engine: sa.Engine, name: str) -> None:
    """Look, before anything is written, whether this code knows the database's schema.

    Raises:
        OSError: it does not.
    """
    fault = _fault(engine, name)
    if fault is None:
        return
    # What looked wrong may have been another process in the middle of its migration; a folder that cannot be written
    # holds no lock, and nobody migrates there.
    with suppress(OSError), _exclusive(engine):
        fault = _fault(engine, name)
    if fault is not None:
        raise OSError(fault)


def _fault(engine: sa.Engine, name: str) -> str | None:
    """Say what is wrong with the database's schema, if anything."""
    current = current_revision(engine)
    known = all_revisions()
    if current is not None and current not in known:
        return (
            f"database {name} has schema {current}, which this release does not know; its newest is {head_revision()}: "
            "run the release that made it, or a newer one; or restore a backup of before"
        )
    tables = set(sa.inspect(engine).get_table_names())
    if current is None and tables:
        return (
            f"database {name} holds tables but no schema version of hilnas ({', '.join(sorted(tables)[:3])}, ...): "
            "name another database, or restore a backup"
        )
    if current is not None and current == head_revision() and (missing := set(metadata.tables) - tables):
        return f"database {name} lacks tables ({', '.join(sorted(missing)[:3])}): restore a backup"
    return None


VERSION_TABLE = "hilnas_schema_version"


MIGRATION_LOCK = 7_316_000  # PostgreSQL advisory lock


_SCRIPTS = Path(metadata_module.__file__).parent / "migrations"


# Importing the stores fills the metadata.
TABLES_OF = (
    access,
    artifacts,
    canary_store,
    classifying,
    event_store,
    change_store,
    candidate_tables,
    fleet,
    idempotency_store,
    jobs,
    labels,
    latency_predictors,
    latency_tables,
    measuring,
    search_store,
    amending,
    spaces,
    studies,
    training,
    networks,
    workers,
    curves,
    wakeups,
    what_ifs,
)


__all__ = [
    "VERSION_TABLE",
    "all_revisions",
    "current_revision",
    "head_revision",
    "metadata",
    "migrate",
    "refuse_unusable",
]


def migrate(engine: sa.Engine, revision: str = "head") -> None:
    """Bring a database to a revision, the newest where none is named; does nothing where it is there already.

    A revision that is older than the database's is gone back to; columns of newer ones are lost with their values.
    """
    with _exclusive(engine), engine.connect().execution_options(hilnas_write=True) as connection:
        config = Config()
        config.set_main_option("script_location", str(_SCRIPTS))
        config.attributes.update(connection=connection, metadata=metadata, version_table=VERSION_TABLE)
        with _references_checked_at_the_end(connection), connection.begin():
            # One statement may rewrite a table of any size, and what is worked out between two takes its time.
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            before = MigrationContext.configure(
                connection, opts={"version_table": VERSION_TABLE}
            ).get_current_revision()
            if before == (head_revision() if revision == "head" else revision):
                return
            gone_back_to = {script.revision for script in _scripts().iterate_revisions(before or "base", "base")}
            older = revision != before and revision in gone_back_to
            (command.downgrade if older else command.upgrade)(config, revision)
            after = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
            if before != after and engine.dialect.name == "sqlite":
                _refuse_broken_references(connection)


@contextmanager
def _references_checked_at_the_end(connection: sa.Connection) -> Iterator[None]:
    """Let SQLite replace tables that others refer to by copies of them, as it advises for changed schemas."""
    if connection.dialect.name != "sqlite":
        yield
        return
    raw: Any = connection.connection.dbapi_connection
    raw.execute("PRAGMA foreign_keys=OFF")  # does nothing within a transaction
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys=ON")


def _refuse_broken_references(connection: sa.Connection) -> None:
    """Undo a migration that left a row without what it refers to.

    Raises:
        RuntimeError: names the first one.
    """
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise RuntimeError(f"row {broken[1]} of table {broken[0]} refers to a row of {broken[2]} that is not there")


def current_revision(engine: sa.Engine) -> str | None:
    """The revision the database is at, all of them where somebody wrote several; None before the first migration."""
    with engine.connect() as connection:
        heads = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()
    return " and ".join(sorted(map(str, heads))) or None


def head_revision() -> str | None:
    """The newest revision this code knows."""
    return _scripts().get_current_head()


def all_revisions() -> tuple[str, ...]:
    """Every revision this code knows, the newest first."""
    return tuple(script.revision for script in _scripts().walk_revisions())


@cache
def _scripts() -> ScriptDirectory:
    """Reads and compiles every migration, which takes longer than all else at a start: once a process."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    return ScriptDirectory.from_config(config)


@contextmanager
def _exclusive(engine: sa.Engine) -> Iterator[None]:
    """Hold the right to migrate: an advisory lock on PostgreSQL, a lock file beside a SQLite file."""
    if engine.dialect.name == "postgresql":
        # Held outside a transaction, which would be ended for idling while another connection migrates; and waited for
        # as long as another process migrates.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("SET statement_timeout = 0"))
            connection.execute(sa.select(sa.func.pg_advisory_lock(MIGRATION_LOCK)))
            try:
                yield
            finally:
                connection.execute(sa.select(sa.func.pg_advisory_unlock(MIGRATION_LOCK)))
                connection.execute(sa.text("RESET statement_timeout"))
        return
    database = Path(str(engine.url.database))
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.migration-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
