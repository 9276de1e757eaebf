"""A board that is asked for a canary and sends none is held back as one whose canary failed. On both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.fleet.device import DeviceState
from tests.support.fakes.liar import Liar, Order
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import PlayedDevice


@pytest.fixture
def liar(database: TestDatabase, tmp_path: Path) -> Iterator[Liar]:
    opened = Liar(database, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def board(liar: Liar) -> PlayedDevice:
    """One with a baseline, from an honest first job."""
    device = liar.enrol()
    order = liar.order(device)
    assert liar.put(device, order, liar.honest(order)).reason == ""
    return device


def put_without(liar: Liar, board: PlayedDevice) -> Order:
    order = liar.order(board)
    liar.put(board, order, liar.honest(order, canary_before=None, canary_after=None))
    return order


def test_the_first_one_that_is_missed_degrades_the_board_until_a_good_one(liar: Liar, board: PlayedDevice) -> None:
    put_without(liar, board)
    held_back = liar.world.devices.get(board.id)
    assert (held_back.state, "was not run" in held_back.reason) == (DeviceState.DEGRADED, True)
    order = liar.order(board)
    assert order.golden
    assert liar.put(board, order, liar.honest(order)).reason == ""
    assert liar.world.devices.get(board.id).state is DeviceState.ACTIVE


def test_the_third_one_in_a_row_quarantines_it_and_only_a_person_lets_it_back(liar: Liar, board: PlayedDevice) -> None:
    for _ in range(3):
        put_without(liar, board)
    quarantined = liar.world.devices.get(board.id)
    assert (quarantined.state, quarantined.num_failures_in_a_row) == (DeviceState.QUARANTINED, 3)
    assert "3 failures in a row" in quarantined.reason
    liar.world.devices.set_state(board.id, DeviceState.ACTIVE, "looked at")
    order = liar.order(board)
    assert liar.put(board, order, liar.honest(order)).reason == ""


def test_what_it_measured_since_its_last_good_canary_is_suspect(liar: Liar, board: PlayedDevice) -> None:
    order = put_without(liar, board)
    assert liar.record(order).suspect
    assert order.job.id not in liar.listed()
    assert liar.listed(), "what came with the good canary stays"
