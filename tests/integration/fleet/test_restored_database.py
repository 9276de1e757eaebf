"""A database that was restored from yesterday knows nothing of today's jobs: agents hear LOST for each, and go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hilnas.v1 import control_pb2
from server.jobs.states import JobState
from tests.support.worlds.agent_bench import Bench, RawAgent, capabilities
from tests.support.worlds.databases import TestDatabase


@pytest.fixture
def bench(database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(database, tmp_path)
    yield opened
    opened.close()


def forget(bench: Bench) -> None:
    """Restore: of the jobs and all that hangs on them nothing is left, the devices are there."""
    for table in ("leases", "measurements", "jobs"):
        bench.world.database.execute(f"DELETE FROM {table}")


def orders(verdicts: list[control_pb2.LeaseVerdict]) -> dict[str, str]:
    return {verdict.lease_id: control_pb2.LeaseOrder.Name(verdict.order) for verdict in verdicts}


def goes_on(bench: Bench, agent: RawAgent) -> None:
    """A new job is given, done, and counted."""
    job = bench.submit(agent, b"a new model")
    receipt = agent.measured(agent.take())
    assert receipt.status == control_pb2.RESULT_STATUS_ACCEPTED, receipt.reason
    assert bench.world.dispatch.get(job.id).state is JobState.DONE


def test_renewals_of_jobs_that_a_restore_took_are_answered_lost_job_by_job(bench: Bench) -> None:
    agent = bench.agent()
    bench.submit(agent)
    gone = agent.take()
    forget(bench)
    kept_job = bench.submit(agent, b"another model")
    kept = agent.take()
    running = [control_pb2.LeaseReport(lease=one.lease) for one in (gone, kept)]
    answer = agent.link.renew(control_pb2.RenewRequest(agent=agent.me, running=running), 10.0)
    assert orders(list(answer.verdicts)) == {
        gone.lease.lease_id: "LEASE_ORDER_LOST",
        kept.lease.lease_id: "LEASE_ORDER_CONTINUE",
    }
    assert agent.measured(kept).status == control_pb2.RESULT_STATUS_ACCEPTED
    assert bench.world.dispatch.get(kept_job.id).state is JobState.DONE
    goes_on(bench, agent)


def test_a_lease_of_a_lost_job_that_is_given_back_fails_nothing(bench: Bench) -> None:
    agent = bench.agent()
    bench.submit(agent)
    gone = agent.take()
    forget(bench)
    kept_job = bench.submit(agent, b"another model")
    kept = agent.take()
    request = control_pb2.SyncRequest(
        agent=agent.me,
        capabilities=capabilities(agent.said),
        nacks=[
            control_pb2.Nack(lease=one.lease, type="ERROR_TYPE_AGENT_SHUTDOWN", reason="told to stop")
            for one in (gone, kept)
        ],
    )
    answer = agent.link.sync(request).result()
    assert orders(list(answer.verdicts)) == {gone.lease.lease_id: "LEASE_ORDER_LOST"}
    assert bench.world.dispatch.get(kept_job.id).state is JobState.QUEUED
    bench.world.database.skip_backoff()
    assert agent.measured(agent.take()).status == control_pb2.RESULT_STATUS_ACCEPTED
    goes_on(bench, agent)


def test_a_result_of_a_lost_job_is_refused_for_good_with_a_reason(bench: Bench) -> None:
    # Refused, not failed: the agent sets it aside with the reason, and what is behind it in its spool goes on.
    agent = bench.agent()
    bench.submit(agent)
    gone = agent.take()
    forget(bench)
    receipt = agent.measured(gone)
    assert receipt.status == control_pb2.RESULT_STATUS_REJECTED
    assert gone.lease.job_id in receipt.reason
    goes_on(bench, agent)
