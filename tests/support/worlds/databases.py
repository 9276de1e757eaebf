"""Real databases for tests: a migrated SQLite file, or a database on a PostgreSQL that is started by hand."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa

from nas_engine.domain.host.scratch import scratch_folder
from server.bootstrap.schema import metadata, migrate
from server.core.database.engine import open_engine
from server.core.database.transaction import UnitOfWork
from server.core.database.wakeups import Wakeups

_BINARY_FOLDERS = (Path("/usr/lib/postgresql"), Path("/usr/local/pgsql"), Path("/opt/homebrew/opt/postgresql"))
_TEMPLATE, _SHARED = "hilnas_template", "hilnas_shared"


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """A migrated database of one test."""

    __test__ = False

    engine: sa.Engine
    uow: UnitOfWork
    wakeups: Wakeups

    @property
    def name(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.engine.dialect.name

    def execute(self, statement: str, **values: object) -> int:
        """Run one statement in its own transaction, behind the service's back; returns the rows it touched."""
        with self.engine.connect().execution_options(hilnas_write=True) as connection, connection.begin():
            return int(connection.execute(sa.text(statement), values).rowcount)

    def empty(self) -> None:
        """Delete every row of every table of ours."""
        with self.engine.connect().execution_options(hilnas_write=True) as connection, connection.begin():
            for table in reversed(metadata.sorted_tables):
                connection.execute(sa.delete(table))

    def kill_lease(self, job_id: str) -> None:
        """Let a lease die now: as if its time to live had passed."""
        assert self.execute("UPDATE jobs SET lease_expires_at = 1 WHERE id = :id AND state = 'leased'", id=job_id) == 1

    def skip_backoff(self) -> None:
        """Let every queued job be claimable now: as if its back-off had passed."""
        self.execute("UPDATE jobs SET not_before = 1 WHERE state = 'queued'")


@cache
def migrated_file() -> Path:
    """A migrated, empty SQLite file to be copied; made once in each process."""
    folder = Path(tempfile.mkdtemp(prefix="hilnas-sqlite-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    engine = open_engine(f"sqlite:///{folder / 'migrated.sqlite'}")
    migrate(engine)
    engine.dispose()
    return folder / "migrated.sqlite"


def place_migrated(path: Path) -> None:
    """Put a migrated database where a server will look for its own, unless there is one: migrating takes long."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copy(migrated_file(), path)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of one's own; the test that asks for it is skipped where none can be started, saying why."""
    reason = why_no_postgres()
    if reason is not None:
        pytest.skip(reason)
    # Not below pytest's own folder: PostgreSQL runs as another user, who could not get in there.
    with scratch_folder("hilnas-postgres-") as folder:
        server = PostgresServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class PostgresServer:
    """A PostgreSQL of the test session, on a free loopback port, its data in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._binaries = postgres_binaries()
        self._folder = folder
        self._has_shared = False
        self.port = _free_port()

    def start(self) -> None:
        """Initialise and start it; about a second."""
        if self._binaries is None:
            raise RuntimeError("no PostgreSQL binaries on this machine")
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        data = self._folder / "data"
        self._run("initdb", "-D", data, "-U", "app", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        self.start_again()
        self._sql(f"CREATE DATABASE {_TEMPLATE}")
        engine = open_engine(self.url(_TEMPLATE))
        migrate(engine)
        engine.dispose()

    def start_again(self) -> None:
        """Start it once more after `stop`, on the same port."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._run("pg_ctl", "-D", self._folder / "data", "-w", "-l", self._folder / "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop it at once, as a crash does: connections break, and the next start recovers."""
        self._run("pg_ctl", "-D", self._folder / "data", "-m", "immediate", "-w", "stop")

    def url(self, database: str) -> str:
        """SQLAlchemy URL of one of its databases."""
        return f"postgresql+psycopg://app@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """URL of a fresh database of one's own (a second to make); dropped afterwards."""
        name = f"test_{uuid.uuid4().hex}"
        self._sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {_TEMPLATE}" if migrated else ""))
        try:
            yield self.url(name)
        finally:
            self._sql(f"DROP DATABASE {name} WITH (FORCE)")

    def shared_url(self) -> str:
        """URL of the session's shared, migrated database; made at the first call. Empty it before every test."""
        if not self._has_shared:
            self._sql(f"CREATE DATABASE {_SHARED} TEMPLATE {_TEMPLATE}")
            self._has_shared = True
        return self.url(_SHARED)

    def _sql(self, statement: str) -> None:
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text(statement))

    def _run(self, program: str, *arguments: str | Path) -> None:
        assert self._binaries is not None
        command = [str(self._binaries / program), *map(str, arguments)]
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(
            command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')}")


def postgres_binaries() -> Path | None:
    """Folder with initdb and pg_ctl, newest version first; None where PostgreSQL is not installed."""
    folders = [path for root in _BINARY_FOLDERS for path in sorted(root.glob("*/bin"), reverse=True)]
    on_path = shutil.which("initdb")
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


def why_no_postgres() -> str | None:
    """Why PostgreSQL cannot be started here; None where it can."""
    if postgres_binaries() is None:
        return "PostgreSQL is not installed: neither initdb on the PATH nor /usr/lib/postgresql/*/bin"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "running as root, and there is no user 'postgres' to run PostgreSQL as"
        if shutil.which("runuser") is None:
            return "running as root, and runuser is not installed"
    return None


@contextmanager
def opened(database: str | sa.Engine) -> Iterator[TestDatabase]:
    """A migrated database, ready for use; an engine keeps its compiled statements from one test to the next."""
    engine = open_engine(database) if isinstance(database, str) else database
    wakeups = Wakeups(engine)
    try:
        yield TestDatabase(engine, UnitOfWork(engine, wakeups), wakeups)
    finally:
        wakeups.close()
        engine.dispose()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
