"""Boards that tell lies, for the tests of what a server believes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hilnas.v1 import control_pb2
from tests.support.fakes.liar import Liar
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import PlayedDevice

ACCEPTED, REJECTED = control_pb2.RESULT_STATUS_ACCEPTED, control_pb2.RESULT_STATUS_REJECTED


@pytest.fixture
def liar(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Liar]:
    opened = Liar(sqlite_database, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def board(liar: Liar) -> PlayedDevice:
    return liar.enrol()


@pytest.fixture
def known_board(liar: Liar, board: PlayedDevice) -> PlayedDevice:
    """One with a baseline, from an honest first job."""
    order = liar.order(board)
    assert liar.put(board, order, liar.honest(order)).status == ACCEPTED
    return board
