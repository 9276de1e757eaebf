"""Fair shares at the real queue: whatever is ordered when, nobody who waits falls behind by more than a job or two."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.jobs.job import Job
from server.jobs.shares.turns import MAX_RUN, TURN, Front, next_turn, num_before, present, step_of
from tests.support.worlds.databases import TestDatabase, opened, place_migrated
from tests.support.worlds.queue_world import QueueWorld

WEIGHTS = st.sampled_from([0.1, 0.5, 1.0, 1.0, 2.0, 3.0, 100.0])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("order"), st.integers(0, 3), st.integers(1, 6)),
        st.tuples(st.just("claim"), st.integers(0, 1), st.integers(1, 4)),
    ),
    min_size=5,
    max_size=25,
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestDatabase]:
    path: Path = tmp_path_factory.mktemp("shares") / "hilnas.sqlite"
    place_migrated(path)
    with opened(f"sqlite:///{path}") as one:
        yield one


class Shares:
    """What each pair of owners got since both have had work waiting."""

    def __init__(self, weights: list[float]) -> None:
        self.weights = weights
        self.waiting = [0] * len(weights)
        self.got: dict[tuple[int, int], list[int]] = {}

    def ordered(self, owner: int, num: int) -> None:
        self.waiting[owner] += num
        for pair in combinations(range(len(self.weights)), 2):
            if all(self.waiting[one] for one in pair):
                self.got.setdefault(pair, [0, 0])

    def claimed(self, owner: int) -> None:
        """Count a claim, then compare: the claim that empties an owner's line belongs to the time both waited."""
        self.waiting[owner] -= 1
        for pair, counts in list(self.got.items()):
            if owner in pair:
                counts[pair.index(owner)] += 1
            first, second = (num / self.weights[one] for num, one in zip(counts, pair, strict=True))
            bound = sum(1 / self.weights[one] for one in pair)
            assert abs(first - second) <= bound + 1e-5, (pair, counts, self.weights)
            if not all(self.waiting[one] for one in pair):
                del self.got[pair]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weights=st.lists(WEIGHTS, min_size=2, max_size=4), steps=STEPS)
def test_nobody_with_work_waiting_falls_behind_the_due_share(
    database: TestDatabase, weights: list[float], steps: list[tuple[str, int, int]]
) -> None:
    """Shares of two that both wait differ by one job of each, in jobs per weight, as fair queuing bounds."""
    database.empty()
    queue, shares = QueueWorld(database.uow), Shares(weights)
    owners = [queue.owner(f"owner {number}", weight) for number, weight in enumerate(weights)]
    by_id = {one.id: number for number, one in enumerate(owners)}
    under_way: dict[str, Job] = {}
    for what, which, num in steps:
        if what == "order":
            owner = which % len(owners)
            queue.order(owners[owner], num)
            shares.ordered(owner, num)
            continue
        board = f"board-{which}"
        for _ in range(num):
            if (ended := under_way.pop(board, None)) is not None:
                queue.finish(ended)
            job = queue.claim(board)
            if job is None:
                break
            under_way[board] = job
            assert job.owner is not None
            shares.claimed(by_id[job.owner.id])


@given(
    own_last=st.none() | st.integers(0, 10**15),
    own_done=st.none() | st.integers(0, 10**15),
    now=st.integers(0, 10**15),
    weight=st.floats(0.1, 100.0),
)
def test_a_turn_lies_at_the_present_or_one_step_after_its_owners_last(
    own_last: int | None, own_done: int | None, now: int, weight: float
) -> None:
    step = step_of(weight)
    turn = next_turn(now, own_last, own_done, step)
    assert turn >= now, "nobody goes before what was claimed"
    if own_last is not None:
        assert turn == max(now, own_last + step)
    else:
        assert turn <= now + step, "what is done holds back by one job at most"
    assert abs(step * weight - TURN) <= weight


@given(
    first=st.lists(st.builds(Front, st.integers(0, 10**9), st.integers(10**4, 10**7)), max_size=2),
    latest=st.none() | st.integers(0, 10**9),
)
def test_the_present_is_not_after_what_waits_first(first: list[Front], latest: int | None) -> None:
    now = present(first, latest)
    assert (now is None) == (not first and latest is None)
    if first and now is not None:
        assert min(first).turn - min(first).step <= now <= min(first).turn


@given(num_interactive=st.integers(0, 12), num_shared=st.integers(0, 12), run=st.integers(0, MAX_RUN))
def test_places_in_two_lanes_are_those_of_taking_turns(num_interactive: int, num_shared: int, run: int) -> None:
    """Against claiming one by one: the interactive lane, but for the shared one's turn after a run."""
    left, streak = {True: num_interactive, False: num_shared}, run
    taken: dict[tuple[bool, int], int] = {}
    for place in range(num_interactive + num_shared):
        interactive = left[True] > 0 and not (streak == MAX_RUN and left[False] > 0)
        total = num_interactive if interactive else num_shared
        taken[interactive, total - left[interactive]] = place
        left[interactive] -= 1
        streak = min(MAX_RUN, streak + 1) if interactive else 0
    for (interactive, num_ahead), place in taken.items():
        num_other = num_shared if interactive else num_interactive
        assert num_before(interactive=interactive, num_ahead=num_ahead, num_other=num_other, run=run) == place
