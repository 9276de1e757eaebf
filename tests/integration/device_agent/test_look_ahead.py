"""The job after the running one: real agents hold it, ask before they begin it, and lose none."""

from __future__ import annotations

import signal

from server.jobs.job import Job
from server.jobs.states import JobPhase, JobState, LeaseOutcome
from tests.support.processes.agent_process import AgentProcess
from tests.support.worlds.farm import FAKE, Farm, fake_model

REAL_TIME = ("--runtime", "fake", "--device-type", "fake-board", "--poll-s", "1", "--fake-real-time")
SLOW = fake_model(latency_us=60_000.0)


def begin(farm: Farm, *others: bytes, first: bytes = SLOW) -> tuple[AgentProcess, Job, list[Job]]:
    """An agent that measures one job, and jobs that wait; the first of them is held."""
    agent = farm.start(*REAL_TIME)
    farm.device()
    running = farm.submit(first, latency_key="running")
    waiting = [farm.submit(model, latency_key=f"waiting-{number}") for number, model in enumerate(others)]
    farm.until_in(running, JobPhase.PREPARING, JobPhase.WARMUP, JobPhase.MEASURING)
    farm.until(lambda: farm.world.dispatch.get(waiting[0].id).state is JobState.LEASED)
    return agent, running, waiting


def test_the_next_job_is_held_while_one_runs_and_no_more_than_one(farm: Farm) -> None:
    _, running, (held, later) = begin(farm, fake_model(latency_us=100.0), fake_model(latency_us=110.0))
    assert farm.world.dispatch.get(running.id).state is JobState.LEASED
    assert not farm.world.dispatch.get(held.id).accepted
    assert farm.world.dispatch.get(later.id).state is JobState.QUEUED
    for job in (running, held, later):
        done = farm.final(job)
        assert (done.state, done.attempt) == (JobState.DONE, 1)
    assert len(farm.measurements()) == 3


def test_a_held_job_that_is_cancelled_is_never_run(farm: Farm) -> None:
    _, running, (held,) = begin(farm, fake_model(latency_us=100.0))
    farm.world.dispatch.cancel(held.id)
    assert farm.final(running).state is JobState.DONE
    assert farm.final(held).state is JobState.CANCELLED
    assert farm.measurements(held) == ()
    assert JobPhase.MEASURING not in farm.faults.phases.get(held.id, ())


def test_an_agent_that_is_told_to_stop_ends_its_job_and_gives_back_the_held_one(farm: Farm) -> None:
    agent, running, (held,) = begin(farm, fake_model(latency_us=100.0))
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert farm.world.dispatch.get(running.id).state is JobState.DONE
    given_back = farm.world.dispatch.get(held.id)
    assert (given_back.state, given_back.attempt) == (JobState.QUEUED, 0)
    assert [lease.outcome for lease in farm.world.dispatch.history(held.id)] == [LeaseOutcome.NACKED]


def test_a_second_signal_gives_back_both(farm: Farm) -> None:
    agent, running, (held,) = begin(farm, fake_model(latency_us=100.0))
    agent.signal(signal.SIGTERM)
    farm.until(lambda: "draining" in agent.log)
    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    for job in (running, held):
        given_back = farm.world.dispatch.get(job.id)
        assert (given_back.state, given_back.attempt) == (JobState.QUEUED, 0)


def test_an_agent_that_is_killed_loses_no_attempt_of_what_it_held(farm: Farm) -> None:
    agent, running, (held,) = begin(farm, fake_model(latency_us=100.0))
    agent.kill()
    farm.start(*FAKE)
    farm.until(lambda: farm.world.dispatch.get(held.id).state is JobState.DONE)
    assert farm.world.dispatch.get(held.id).attempt == 1
    assert farm.final(running).state is JobState.DONE
    assert len({record.job_id for record in farm.measurements()}) == len(farm.measurements()) == 2


def test_a_board_that_is_free_takes_what_a_busy_one_holds(farm: Farm) -> None:
    slower = fake_model(latency_us=600_000.0)  # still runs when the other board has started, however long that takes
    _, _, (held,) = begin(farm, fake_model(latency_us=100.0), first=slower)
    farm.start(*REAL_TIME, name="bench-2")
    farm.until(lambda: farm.world.dispatch.get(held.id).state is JobState.DONE)
    assert farm.world.dispatch.get(held.id).lease_owner == farm.device("bench-2").id
    outcomes = [lease.outcome for lease in farm.world.dispatch.history(held.id)]
    assert outcomes == [LeaseOutcome.NACKED, LeaseOutcome.DONE]
    assert len(farm.measurements(held)) == 1


def test_a_server_that_goes_away_beneath_both_loses_neither(farm: Farm) -> None:
    _, running, (held,) = begin(farm, fake_model(latency_us=100.0))
    farm.server.stop(0.0)
    farm.until(lambda: "not renewed" in farm.agents[0].log or "measured" in farm.agents[0].log)
    farm.serve_again()
    for job in (running, held):
        assert farm.final(job).state is JobState.DONE
    assert len({record.job_id for record in farm.measurements()}) == len(farm.measurements()) == 2
