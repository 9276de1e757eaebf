"""Owners share the boards as their weights say, whatever they order and wherever it waits; SQLite and PostgreSQL."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import Any

import pytest

from server.jobs.queue import JobStore
from server.jobs.states import JobKind
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.queue_world import ONE_BOARD, OTHER_POOL, POOL, QueueWorld, names


@pytest.fixture
def queue(database: TestDatabase) -> QueueWorld:
    return QueueWorld(database.uow)


def test_an_owner_of_twice_the_weight_gets_twice_as_much_at_every_moment(queue: QueueWorld) -> None:
    queue.order(queue.owner("one"), 12)
    queue.order(queue.owner("two", 2.0), 24)
    served = names(queue.serve(36))
    of_two = list(accumulate(name == "two" for name in served))
    assert Counter(served) == {"one": 12, "two": 24}
    for num, twice in enumerate(of_two, start=1):
        assert abs(twice / 2.0 - (num - twice)) <= 1.5


def test_a_weight_below_one_is_kept_though_its_owner_orders_one_after_the_other(queue: QueueWorld) -> None:
    queue.order(queue.owner("many"), 30)
    light = queue.owner("light", 0.25)
    waiting, served = queue.order(light)[0], []
    for _ in range(20):
        served += queue.serve(1)
        if served[-1].id == waiting.id:
            (waiting,) = queue.order(light)
    assert names(served).count("light") == 4


def test_another_weight_holds_for_what_is_ordered_from_then_on(queue: QueueWorld) -> None:
    one, other = queue.owner("one"), queue.owner("other")
    queue.order(one, 10)
    queue.order(other, 2)
    queue.owner("other", 2.0)
    queue.order(other, 8)
    assert Counter(names(queue.serve(10)))["other"] == 6  # turns 0 1 2 2.5 3 3.5 beside 0 1 2 3


def test_who_was_idle_has_no_credit(queue: QueueWorld) -> None:
    busy, idle = queue.owner("busy"), queue.owner("idle")
    queue.order(idle)
    queue.order(busy, 40)
    queue.serve(21)
    queue.order(idle, 10)
    assert Counter(names(queue.serve(10))) == {"busy": 5, "idle": 5}


def test_all_begin_anew_after_an_idle_time(queue: QueueWorld) -> None:
    old, new = queue.owner("old"), queue.owner("new")
    queue.order(old, 20)
    queue.serve(20)
    queue.order(old, 10)
    queue.order(new, 10)
    assert 4 <= names(queue.serve(10)).count("new") <= 6


def test_a_job_that_no_board_can_take_gives_nobody_credit(queue: QueueWorld) -> None:
    many, late = queue.owner("many"), queue.owner("late")
    queue.order(queue.owner("away"), pool=OTHER_POOL)
    queue.order(many, 40)
    queue.serve(20)
    queue.order(late, 10)
    assert Counter(names(queue.serve(10))) == {"many": 5, "late": 5}


def test_configurations_of_one_board_share_its_time(queue: QueueWorld) -> None:
    """Two data types are no two shares."""
    two, one = queue.owner("two configurations"), queue.owner("one configuration")
    queue.order(two, 10)
    queue.order(two, 10, pool=OTHER_POOL)
    queue.order(one, 10)
    assert names(queue.serve(20, pools=(POOL, OTHER_POOL))).count("one configuration") == 10


def test_a_configuration_that_is_new_begins_at_the_present(queue: QueueWorld) -> None:
    many, late = queue.owner("many"), queue.owner("late")
    queue.order(many, 40)
    queue.serve(20)
    queue.claim()
    queue.order(late, 10, pool=OTHER_POOL)
    assert names(queue.serve(10, pools=(POOL, OTHER_POOL))).count("late") == 5


def test_what_an_owner_has_on_boards_of_another_type_is_no_debt(queue: QueueWorld) -> None:
    one, other = queue.owner("one"), queue.owner("other")
    queue.order(one, 30, device_type="cpu")
    for _ in range(20):
        job = queue.claim("cpu-1", device_type="cpu")
        assert job is not None
        queue.finish(job)
    queue.order(other, 10)
    queue.order(one, 10)
    assert Counter(names(queue.serve(10))) == {"one": 5, "other": 5}


def test_classifying_is_counted_with_measuring(queue: QueueWorld) -> None:
    both, one = queue.owner("both"), queue.owner("one")
    queue.order(both, 10)
    queue.order(both, 10, kind=JobKind.CLASSIFY)
    queue.order(one, 10)
    assert names(queue.serve(20)).count("one") == 10


def test_jobs_of_nobody_weigh_one(queue: QueueWorld) -> None:
    queue.order(None, 20)
    queue.order(queue.owner("three", 3.0), 30)
    assert Counter(names(queue.serve(20))) == {"nobody": 5, "three": 15}


def test_several_boards_share_as_one_does(queue: QueueWorld) -> None:
    queue.order(queue.owner("one"), 30)
    queue.order(queue.owner("four", 4.0), 60)
    served = [queue.serve(1, f"{ONE_BOARD}{n % 3}")[0] for n in range(50)]
    assert Counter(names(served)) == {"one": 10, "four": 40}


def test_a_job_that_passes_to_another_owner_takes_a_turn_of_that_ones(queue: QueueWorld) -> None:
    many, heir = queue.owner("many"), queue.owner("heir")
    last = queue.order(many, 20)[-1]
    no_search: Any = None  # whose turn it is does not depend on one
    queue.uow.write(lambda tx: JobStore(tx).assign_job_to(last.id, no_search, no_search, 0, heir))
    queue.order(heir, 4)
    assert names(queue.serve(10)).count("heir") == 5


def test_a_job_that_passes_to_another_search_of_its_owner_keeps_its_turn(queue: QueueWorld) -> None:
    one, other = queue.owner("one"), queue.owner("other")
    first = queue.order(one, 10)[0]
    queue.order(other, 10)
    no_search: Any = None
    queue.uow.write(lambda tx: JobStore(tx).assign_job_to(first.id, no_search, no_search, 0, one))
    assert queue.uow.read(lambda tx: JobStore(tx).get_job(first.id)).turn == first.turn
    assert Counter(names(queue.serve(10))) == {"one": 5, "other": 5}


def test_a_measurement_that_is_handed_to_another_owner_takes_a_turn_of_that_ones(queue: QueueWorld) -> None:
    many, heir = queue.owner("many"), queue.owner("heir")
    last = queue.order(many, 20)[-1]
    queue.uow.write(lambda tx: JobStore(tx).hand_job_to(last, heir))
    queue.order(heir, 4)
    assert names(queue.serve(10)).count("heir") == 5
