"""Fixtures of the integration tier: the API process' wiring over a real SQLite file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import torch

from tests.support.cuda import say_the_device
from tests.support.processes.served_worker import Served, served_worker
from tests.support.worlds.api_world import World
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import Farm


@pytest.fixture(autouse=True)
def _gpu_is_named(request: pytest.FixtureRequest) -> None:
    """Say which GPU a test runs on, of those that need one."""
    if request.node.get_closest_marker("cuda") is not None:
        say_the_device()


@pytest.fixture
def world(migrated_sqlite: Path, tmp_path: Path) -> Iterator[World]:
    """A server without sockets, with a worker and boards to be played by hand."""
    shutil.copy(migrated_sqlite, tmp_path / "hilnas.sqlite3")
    opened = World.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def farm(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Farm]:
    """A service with an agents' endpoint, for real agents."""
    opened = Farm(sqlite_database, tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server process with a real worker, shared by every test that trains over REST."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with served_worker(tmp_path_factory.mktemp("served")) as opened:
        yield opened
    torch.set_num_threads(threads)


@pytest.fixture
def client(world: World) -> httpx2.Client:
    """An admin's client of `world`."""
    return world.client()
