"""The service that jobs are tested in: over each database, with worker and devices that are played."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.artifacts.files import FileByteStore
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))
