"""Twenty agents come back to hundreds of waiting jobs in the same moment: every job is done once, and reads go on."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from hilnas.v1 import control_pb2
from server.jobs.queue import JobStore
from server.jobs.states import JobState
from server.jobs.tables import jobs
from server.measuring.store import measurements
from tests.support.worlds.agent_bench import Bench, RawAgent
from tests.support.worlds.databases import TestDatabase

pytestmark = pytest.mark.long

NUM_AGENTS, NUM_JOBS = 20, 100


@pytest.fixture
def bench(database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(database, tmp_path, num_threads=2 * NUM_AGENTS)
    yield opened
    opened.close()


def work_until_empty(agent: RawAgent, start: threading.Barrier) -> int:
    """What an agent does as long as there are jobs; how many it did."""
    start.wait()
    num_done = 0
    while assignments := agent.sync().assignments:
        (assignment,) = assignments
        report = control_pb2.LeaseReport(lease=assignment.lease)
        answer = agent.link.renew(control_pb2.RenewRequest(agent=agent.me, running=[report]), 30.0)
        assert [verdict.order for verdict in answer.verdicts] == [control_pb2.LEASE_ORDER_CONTINUE]
        for status in (control_pb2.RESULT_STATUS_ACCEPTED, control_pb2.RESULT_STATUS_DUPLICATE):  # an answer was lost
            assert agent.measured(assignment).status == status
        num_done += 1
    return num_done


def test_agents_that_come_back_at_once_do_every_job_once_while_people_look(bench: Bench) -> None:
    token = bench.token()
    agents = [bench.agent(f"bench-{number}", token=token, boot_id=f"boot-{number}") for number in range(NUM_AGENTS)]
    bench.submit_many(agents[0], NUM_JOBS)
    num_looks = 0
    start = threading.Barrier(NUM_AGENTS + 1)
    with ThreadPoolExecutor(NUM_AGENTS) as pool:
        calls = [pool.submit(work_until_empty, agent, start) for agent in agents]
        start.wait()
        while not all(call.done() for call in calls):
            bench.world.uow.read(lambda tx: JobStore(tx).queue_depths())
            num_looks += 1
            time.sleep(0.05)
        done = [call.result() for call in calls]
    assert sum(done) == NUM_JOBS
    with bench.world.database.engine.connect() as connection:
        states = Counter(row.state for row in connection.execute(sa.select(jobs.c.state)))
        counted = Counter(
            row.job_id for row in connection.execute(sa.select(measurements.c.job_id).where(~measurements.c.superseded))
        )
    assert states == {JobState.DONE: NUM_JOBS}
    assert len(counted) == NUM_JOBS
    assert set(counted.values()) == {1}
    assert min(done) > 0, "nobody starves"
    assert num_looks > 0
