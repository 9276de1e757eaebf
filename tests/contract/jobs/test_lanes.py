"""A person's order goes before generations, and does not starve them; places are what comes. Both databases."""

from __future__ import annotations

import random

import pytest

from nas_engine.domain.job_protocol import FailureType
from server.bootstrap.job_kinds import all_job_kinds
from server.core.database.transaction import Transaction
from server.jobs.completion import fail_attempt
from server.jobs.failures import Failure
from server.jobs.job import Job
from server.jobs.queue import JobStore
from server.jobs.shares.turns import MAX_INTERACTIVE, MAX_RUN, SHARED_EVERY
from server.jobs.states import LeaseOutcome
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.queue_world import QueueWorld, names
from tests.support.worlds.service_world import lease_of


@pytest.fixture
def queue(database: TestDatabase) -> QueueWorld:
    return QueueWorld(database.uow)


def lanes(jobs: list[Job]) -> str:
    return "".join("i" if job.interactive else "s" for job in jobs)


def flood(queue: QueueWorld, num_people: int) -> None:
    """As many interactive orders as so many people can have at a time."""
    for number in range(num_people):
        queue.order(queue.owner(f"person {number}"), MAX_INTERACTIVE, interactive=True)


def test_one_order_waits_for_what_is_under_way_and_for_no_generation(queue: QueueWorld) -> None:
    for number in range(3):
        queue.order(queue.owner(f"search {number}", 8.0), 50)
    boards = [f"board-{number}" for number in range(4)]
    under_way = [queue.claim(board) for board in boards]
    (mine,) = queue.order(queue.owner("person"), interactive=True)
    assert queue.place(mine) == len(boards)
    assert under_way[2] is not None
    queue.finish(under_way[2])
    taken = queue.claim(boards[2])
    assert taken is not None
    assert taken.id == mine.id, "the first board that is free has it"


def test_of_so_many_claims_one_goes_to_what_all_share(queue: QueueWorld) -> None:
    queue.order(queue.owner("search"), 10)
    flood(queue, 4)
    assert lanes(queue.serve(20)) == ("i" * MAX_RUN + "s") * 5
    assert SHARED_EVERY == MAX_RUN + 1


def test_it_is_so_for_each_board(queue: QueueWorld) -> None:
    queue.order(queue.owner("search"), 10)
    flood(queue, 6)
    first, second = "", ""
    for _ in range(8):
        first += lanes(queue.serve(1, "board-1"))
        second += lanes(queue.serve(1, "board-2"))
    assert first == second == ("i" * MAX_RUN + "s") * 2


def test_people_who_order_whenever_they_are_served_do_not_starve_a_search(queue: QueueWorld) -> None:
    queue.order(queue.owner("search"), 10)
    people = [queue.owner(f"person {number}") for number in range(3)]
    for one in people:
        queue.order(one, interactive=True)
    served: list[Job] = []
    while len(served) < 24:
        served += queue.serve(1)
        if served[-1].interactive:
            queue.order(served[-1].owner, interactive=True)
    assert lanes(served) == ("i" * MAX_RUN + "s") * 6
    assert [names(served).count(one.name) for one in people] == [6, 6, 6]


def test_an_owner_has_a_few_orders_in_the_lane_and_the_rest_takes_turns(queue: QueueWorld) -> None:
    person = queue.owner("person")
    ordered = queue.order(person, MAX_INTERACTIVE + 2, interactive=True)
    assert lanes(list(ordered)) == "i" * MAX_INTERACTIVE + "ss"
    job = queue.claim()
    assert job is not None
    assert not queue.order(person, interactive=True)[0].interactive, "what is under way is unfinished"
    queue.finish(job)
    assert queue.order(person, interactive=True)[0].interactive
    assert queue.order(queue.owner("another"), interactive=True)[0].interactive


def test_a_higher_priority_goes_before_the_lane(queue: QueueWorld) -> None:
    queue.order(queue.owner("search"), 2, priority=1)
    queue.order(queue.owner("person"), 1, interactive=True)
    queue.order(queue.owner("person"), 1, interactive=True, priority=-1)
    queue.order(queue.owner("search"), 1)
    assert [(job.priority, job.interactive) for job in queue.serve(5)] == [
        (1, False),
        (1, False),
        (0, True),
        (0, False),
        (-1, True),
    ]


def test_the_lane_has_the_board_where_nothing_else_waits_at_its_priority(queue: QueueWorld) -> None:
    flood(queue, 2)
    queue.order(queue.owner("search"), 2, priority=-1)
    assert lanes(queue.serve(10)) == "i" * 8 + "ss"


def test_what_was_given_back_is_no_turn_of_the_shared_lane(queue: QueueWorld) -> None:
    queue.order(queue.owner("search"), 4)
    flood(queue, 3)
    assert lanes(queue.serve(MAX_RUN)) == "i" * MAX_RUN
    given_back = queue.claim()
    assert given_back is not None
    assert not given_back.interactive

    def give_back(tx: Transaction) -> None:
        job = JobStore(tx).lock_job_of_lease(lease_of(given_back))
        failure = Failure(FailureType.AGENT_SHUTDOWN, "not begun")
        fail_attempt(tx, all_job_kinds(), job, failure, outcome=LeaseOutcome.NACKED)

    queue.uow.write(give_back)
    assert lanes(queue.serve(4)) == "siii"


@pytest.mark.parametrize("seed", range(4))
def test_places_are_the_order_in_which_one_board_takes_what_waits(queue: QueueWorld, seed: int) -> None:
    rng = random.Random(seed)
    owners = [queue.owner(f"owner {number}", weight) for number, weight in enumerate((1.0, 1.0, 2.0, 4.0, 0.5))]
    ordered: list[Job] = []
    for _ in range(25):
        who, num = rng.choice(owners), rng.randint(1, 3)
        ordered += queue.order(who, num, interactive=rng.random() < 0.4, priority=rng.choice((0, 0, -1)))
    gone = {job.id for job in queue.serve(rng.randint(0, 7))}
    under_way = queue.claim()
    assert under_way is not None
    waiting = {job.id: job for job in ordered if job.id not in {*gone, under_way.id}}
    places = {job_id: queue.place(job) - 1 for job_id, job in waiting.items()}
    queue.finish(under_way)
    came = {job.id: place for place, job in enumerate(queue.serve(len(waiting)))}
    assert set(came) == set(waiting)
    first = max(job.priority for job in waiting.values())
    exact = [job_id for job_id, job in waiting.items() if job.priority == first]
    assert [places[job_id] for job_id in exact] == [came[job_id] for job_id in exact]
    # Where a run of the lane ends when a higher priority is through, is not followed.
    assert max(abs(places[job_id] - came[job_id]) for job_id in waiting) <= MAX_RUN
