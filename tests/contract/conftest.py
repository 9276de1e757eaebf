"""Fixtures of the contracts that every database must hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from server.bootstrap.schema import migrate
from server.core.database.engine import open_engine
from tests.support.worlds.databases import PostgresServer, TestDatabase, opened


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def own_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TestDatabase]:
    """A database of the test's own: it is downgraded and upgraded."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'hilnas.sqlite3'}"
        if request.param == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres_server")
            url = stack.enter_context(server.database(migrated=False))
        engine = open_engine(url)
        migrate(engine)
        yield stack.enter_context(opened(engine))
