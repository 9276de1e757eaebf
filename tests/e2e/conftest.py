"""Fixtures of the end-to-end tier: installations over either database, and the search that nothing disturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes.fault_searches import LATENCY, NUM_CANDIDATES
from tests.support.processes.records import Asked, asked, assert_intact
from tests.support.processes.rig import Installation
from tests.support.worlds.databases import PostgresServer, running_postgres


@pytest.fixture
def nas(tmp_path: Path) -> Iterator[Installation]:
    """An installation over SQLite; nothing runs yet."""
    installation = Installation(tmp_path)
    yield installation
    installation.end()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def nas_on_either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """An installation over each database; nothing runs yet."""
    with ExitStack() as stack:
        url = None
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            url = stack.enter_context(server.database(migrated=False))
        installation = Installation(tmp_path, url)
        stack.callback(installation.end)
        yield installation


@pytest.fixture
def postgres_of_its_own() -> Iterator[PostgresServer]:
    """A PostgreSQL that a test may stop."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def nas_on_that(postgres_of_its_own: PostgresServer, tmp_path: Path) -> Iterator[Installation]:
    """An installation over `postgres_of_its_own`; nothing runs yet."""
    with postgres_of_its_own.database(migrated=False) as url:
        installation = Installation(tmp_path, url)
        yield installation
        installation.end()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Asked]:
    """What the latency search asks when nothing goes wrong."""
    installation = Installation(tmp_path_factory.mktemp("undisturbed"))
    try:
        installation.start("board-1", "board-2")
        search_id = installation.create(LATENCY)
        installation.until_done(search_id)
        assert_intact(installation, search_id, NUM_CANDIDATES)
        return asked(installation, search_id)
    finally:
        installation.end()


Ending = Callable[[Installation, str], None]


@pytest.fixture
def ends_as_if_undisturbed(undisturbed: list[Asked]) -> Ending:
    """Waits for the end of a latency search and compares it with the one that nothing disturbed."""

    def wait_and_compare(installation: Installation, search_id: str) -> None:
        installation.until_done(search_id)
        assert_intact(installation, search_id, NUM_CANDIDATES)
        assert asked(installation, search_id) == undisturbed

    return wait_and_compare
