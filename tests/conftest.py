"""Fixtures that every tier may use."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from server.bootstrap.schema import migrate
from server.core.database.engine import open_engine
from tests.databases import PostgresServer, TestDatabase, opened, why_no_postgres

# Timings never decide: a property must not fail because the machine is busy.
settings.register_profile("hilnas", deadline=None)
settings.load_profile("hilnas")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole session."""
    reason = why_no_postgres()
    if reason is not None:
        pytest.skip(reason)
    # Not below pytest's own folder: PostgreSQL runs as another user, who could not get in there.
    folder = Path(tempfile.mkdtemp(prefix="hilnas-postgres-"))
    server = PostgresServer(folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


@pytest.fixture
def sqlite_database(migrated_sqlite: Path, tmp_path: Path) -> Iterator[TestDatabase]:
    """A migrated SQLite database."""
    path = tmp_path / "hilnas.sqlite"
    shutil.copy(migrated_sqlite, path)
    with opened(f"sqlite:///{path}") as database:
        yield database


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    """The migrated, empty PostgreSQL database."""
    with opened(postgres_server.shared_url()) as found:
        found.empty()
        yield found


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> TestDatabase:
    """A migrated database of each kind."""
    found: TestDatabase = request.getfixturevalue(f"{request.param}_database")
    return found
