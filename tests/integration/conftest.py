"""Fixtures of the integration tier: the API process' wiring over a real SQLite file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.api_world import World


@pytest.fixture
def world(migrated_sqlite: Path, tmp_path: Path) -> Iterator[World]:
    """A server without sockets, with a worker and boards to be played by hand."""
    shutil.copy(migrated_sqlite, tmp_path / "hilnas.sqlite3")
    opened = World.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def client(world: World) -> httpx.Client:
    """An admin's client of `world`."""
    return world.client()
