"""Many threads at once, over real databases: nothing is given out twice, lost, or seen out of order."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from nas_engine.domain.json_value import JsonValue
from server.artifacts.files import FileByteStore
from server.candidates.search import SearchQuery
from server.candidates.states import CandidateState, SearchState
from server.core.database.transaction import Transaction
from server.core.database.wakeups import Topic
from server.core.event_type import EventType
from server.core.events import EventQuery, EventStore, NewEvent
from server.core.idempotency import Idempotency, IdempotencyScope, StoredResponse
from server.jobs.job import NewJob
from server.jobs.queue import JobStore
from server.jobs.states import JobKind, JobState
from server.measuring.measurement import MeasurementQuery
from tests.support.worlds.databases import TestDatabase, opened
from tests.support.worlds.service_world import World, job_states, lease_of

T = TypeVar("T")
NUM_THREADS = 8
EVERY_ONE = EventQuery(search_id="s")


@pytest.fixture
def world(database: TestDatabase, tmp_path: Path) -> World:
    return World(database, FileByteStore(tmp_path / "artifacts"))


def at_once(work: Callable[[int], T], num_threads: int = NUM_THREADS) -> list[T]:
    """Run `work(0)`, `work(1)`, ... in threads that start together; raises what any of them raised."""
    gate = threading.Barrier(num_threads)

    def start(number: int) -> T:
        gate.wait()
        return work(number)

    with ThreadPoolExecutor(num_threads) as pool:
        return [future.result() for future in [pool.submit(start, number) for number in range(num_threads)]]


def test_eight_threads_claim_three_hundred_jobs_each_once(world: World) -> None:
    jobs = [NewJob(kind=JobKind.TRAIN, payload={"number": number}) for number in range(300)]
    world.uow.write(lambda tx: JobStore(tx).add_jobs(jobs))

    def claim_all(number: int) -> list[str]:
        mine: list[str] = []
        while (job := world.dispatch.claim(f"worker-{number}", (JobKind.TRAIN,))) is not None:
            mine.append(job.id)
            world.dispatch.complete(lease_of(job))
        return mine

    claimed = [job_id for mine in at_once(claim_all) for job_id in mine]
    assert len(claimed) == len(set(claimed)) == 300


def test_threads_that_end_a_generation_together_open_the_barrier_once(world: World) -> None:
    devices = [world.enrol(f"bench-{number}") for number in range(NUM_THREADS)]
    search = world.search(budget={"num_candidates": 16}, algorithm={"kind": "random", "batch_size": NUM_THREADS})
    world.worker.run()
    jobs = [device.take() for device in devices]

    def measure(number: int) -> None:
        job = jobs[number]
        assert job is not None
        devices[number].measure(job)

    at_once(measure)
    assert world.states(search) == [CandidateState.COMPLETE] * NUM_THREADS
    steps = [state for kind, state in job_states(world, search) if kind is JobKind.SEARCH_STEP]
    assert steps == [JobState.DONE, JobState.QUEUED]
    assert world.searches.get_search(search.id).progress.num_complete == NUM_THREADS


def test_workers_and_devices_at_once_end_searches_with_their_budgets(world: World) -> None:
    devices = [world.enrol(f"bench-{number}") for number in range(3)]
    searches = [world.search(budget={"num_candidates": 12}) for _ in range(3)]
    over = threading.Event()

    def play(number: int) -> None:
        for _ in range(400):
            if over.is_set():
                return
            done = world.worker.run() if number < 2 else devices[number - 2].run()
            if done == 0 and all(world.searches.get_search(search.id).state.final for search in searches):
                over.set()

    at_once(play, num_threads=5)
    for search in searches:
        ended = world.searches.get_search(search.id)
        assert ended.state is SearchState.COMPLETED
        assert ended.progress.num_complete == ended.progress.num_asked == 12
        assert Counter(world.states(search)) == {CandidateState.COMPLETE: 12}
    # Three searches over the same architectures need each latency once.
    keys = {candidate.latency_key for search in searches for candidate in world.candidates(search)}
    assert world.latencies.count_measurements(MeasurementQuery(include_superseded=True)) == len(keys)


def test_a_reader_of_events_misses_none_that_is_committed_later(world: World) -> None:
    per_thread, finished = 25, threading.Event()
    seen: list[tuple[JsonValue, JsonValue]] = []

    def write(number: int) -> None:
        for place in range(per_thread):
            event = NewEvent(type=EventType.JOB, payload={"writer": number, "place": place}, search_id="s")
            world.uow.write(lambda tx, e=event: EventStore(tx).append_event(e))  # type: ignore[misc]

    def read() -> None:
        last = 0
        while True:
            ended = finished.is_set()
            found = world.uow.read(lambda tx, after=last: EventStore(tx).events_after(after, EVERY_ONE, 500))  # type: ignore[misc]
            seen.extend((event.payload["writer"], event.payload["place"]) for event in found)
            last = found[-1].id if found else last
            if ended and not found:
                return

    reader = threading.Thread(target=read)
    reader.start()
    at_once(write)
    finished.set()
    reader.join()
    assert Counter(seen) == Counter((w, p) for w in range(NUM_THREADS) for p in range(per_thread))


def test_one_idempotency_key_has_one_effect(world: World) -> None:
    idempotency = Idempotency(world.uow)
    world.enrol()
    scope = IdempotencyScope(caller="tok", method="POST", path="/searches", key="k1")

    def create(_: int) -> tuple[str, bool]:
        result = idempotency.run(scope, "fp", lambda: StoredResponse(status=202, headers=(), body=world.search().id))
        return result.response.body, result.replayed

    answers = at_once(create)
    assert len({body for body, _ in answers}) == 1
    assert sorted(replayed for _, replayed in answers) == [False] + [True] * (NUM_THREADS - 1)
    assert world.searches.count_searches(SearchQuery()) == 1


def test_a_waiting_worker_is_woken_by_a_new_job(world: World) -> None:
    world.database.wakeups.start()
    answers: list[str] = []

    def wait() -> None:
        job = world.dispatch.wait_and_claim("w", (JobKind.TRAIN,), wait_s=20.0)
        answers.append("nothing" if job is None else job.id)

    waiter = threading.Thread(target=wait)
    waiter.start()

    def add(tx: Transaction) -> str:
        tx.wake(Topic.WORKER_JOBS)
        return JobStore(tx).add_job(NewJob(kind=JobKind.TRAIN, payload={})).id

    job_id = world.uow.write(add)
    waiter.join()
    assert answers == [job_id]


def test_a_wake_of_another_process_is_heard(world: World) -> None:
    world.database.wakeups.start()
    with opened(world.database.engine.url.render_as_string(hide_password=False)) as other:
        other.wakeups.start()
        heard = False
        for _ in range(50):  # the listener's start is not awaited: wake until it hears
            token = other.wakeups.token(Topic.EVENTS)
            world.uow.write(lambda tx: EventStore(tx).append_event(NewEvent(type=EventType.JOB)))
            heard = other.wakeups.wait(Topic.EVENTS, token, 0.5)
            if heard:
                break
    assert heard
