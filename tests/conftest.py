"""Fixtures that every tier may use, and how the suite runs on all cores."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog
from hypothesis import settings

from server.core.database.engine import open_engine
from tests.support.worlds.databases import PostgresServer, TestDatabase, migrated_file, opened, running_postgres

# Timings never decide: a property must not fail because the machine is busy.
settings.register_profile("hilnas", deadline=None)
settings.load_profile("hilnas")

# Tiers with real processes come first: their tests take longest, and short ones fill the gaps at the end.
TIERS = ("e2e", "browser", "wires", "integration", "contract", "golden", "property", "unit")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--unsteady", action="store_true", help="name what passes (with --last-failed)")


def pytest_configure(config: pytest.Config) -> None:
    # As the processes do it: rich's rendering of a traceback takes seconds.
    structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])
    # Set before torch is imported, and inherited by every process that a test starts: all cores are busy with tests.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # With one thread and AVX2, training a DenseNAS supernet was seen to corrupt its heap (oneDNN 3.12; suspected: the
    # backward pass of strided convolutions). With two threads, or without AVX2, it was not.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On all cores: longest first, and tests that share what a fixture of their module made in one process."""
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        if _shares_with_its_file(item):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: (TIERS.index(_tier(item)), item.get_closest_marker("xdist_group") is None))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run where the distributor does not take the groups: each worker would make all that is shared."""
    if getattr(session.config.option, "loadgroup", False) and os.environ.get("PYTEST_XDIST_WORKER"):
        lost = [item for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid]
        if lost:
            raise pytest.UsageError(f"{len(lost)} tests lost their groups: these pytest and pytest-xdist do not fit")


def _shares_with_its_file(item: pytest.Item) -> bool:
    info = getattr(item, "_fixtureinfo", None)
    found = () if info is None else info.name2fixturedefs.values()
    return any(definition.scope == "module" for definitions in found for definition in definitions)


def _tier(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take the group's name from the end of a test's: else `--last-failed` would look for a test of that name."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # where it runs it keeps the name under which it was handed out
    name, _, group = report.nodeid.rpartition("@")
    if name and not group.endswith("]"):
        report.nodeid = name


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the tests that failed in the run before and passed in this one."""
    if config.getoption("unsteady"):
        for report in terminalreporter.getreports("passed"):
            terminalreporter.write_line(f"UNSTEADY: {report.nodeid}", yellow=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole session."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_sqlite() -> Path:
    """A migrated SQLite file to be copied."""
    return migrated_file()


@pytest.fixture
def sqlite_database(migrated_sqlite: Path, tmp_path: Path) -> Iterator[TestDatabase]:
    """A migrated SQLite database. Its engine is its own: a thread of one test must not reach the next one's file."""
    path = tmp_path / "hilnas.sqlite"
    shutil.copy(migrated_sqlite, path)
    with opened(f"sqlite:///{path}") as database:
        yield database


@pytest.fixture(scope="session")
def postgres_engine(postgres_server: PostgresServer) -> sa.Engine:
    """The engine of every test's PostgreSQL database."""
    return open_engine(postgres_server.shared_url())


@pytest.fixture
def postgres_database(postgres_engine: sa.Engine) -> Iterator[TestDatabase]:
    """The migrated, empty PostgreSQL database."""
    with opened(postgres_engine) as found:
        found.empty()
        yield found


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> TestDatabase:
    """A migrated database of each kind."""
    found: TestDatabase = request.getfixturevalue(f"{request.param}_database")
    return found
