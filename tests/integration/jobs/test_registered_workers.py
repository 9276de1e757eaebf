"""Workers register and beat: they are listed with what they do, and what stands still without one says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.jobs.dispatch import Dispatch
from server.jobs.states import JobKind
from server.jobs.workers.beats import Beats
from server.jobs.workers.registered import DEAD_AFTER_S, RegisteredWorker, absence, death
from tests.support.worlds.api_world import World, latency_spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEPPER = RegisteredWorker(
    id="host-1", host="host", pid=1, version="1", kinds=(JobKind.SEARCH_STEP,), started_at=NOW, beat_at=NOW
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World.open(tmp_path / "home", auth=False)
    yield opened
    opened.close()


def test_a_worker_is_dead_when_it_was_not_heard_of_for_long_enough() -> None:
    late = NOW + timedelta(seconds=DEAD_AFTER_S + 1)
    assert absence((STEPPER,), JobKind.SEARCH_STEP, NOW) == ""
    assert absence((STEPPER,), JobKind.TRAIN, NOW).startswith("no worker that does such jobs is running")
    assert absence((STEPPER,), JobKind.SEARCH_STEP, late) == (
        "no worker lives: host-1 was last heard of 10 s ago; start one with 'hilnas worker'"
    )
    stopped = replace(STEPPER, left_at=NOW)
    assert "host-1 was stopped 0 s ago" in absence((stopped,), JobKind.SEARCH_STEP, NOW)


def test_a_job_whose_worker_died_says_whether_another_can_take_it_over() -> None:
    late = NOW + timedelta(seconds=DEAD_AFTER_S + 1)
    other = replace(STEPPER, id="host-2", beat_at=late)
    step = JobKind.SEARCH_STEP
    assert death((STEPPER,), "host-1", step, NOW) == death((STEPPER,), "another", step, late) == ""
    gone = "worker host-1, which has the job, was last heard of 10 s ago"
    assert death((STEPPER, other), "host-1", step, late) == f"{gone}: another takes over when its lease ends"
    alone = f"{gone}, and no other lives: start one with 'hilnas worker'"
    assert death((STEPPER,), "host-1", step, late) == alone
    trainer = replace(other, kinds=(JobKind.TRAIN,))
    assert death((STEPPER, trainer), "host-1", step, late) == alone, "it does no such jobs"
    stopped = replace(STEPPER, left_at=late)
    assert "host-1, which has the job, was stopped 0 s ago" in death((stopped,), "host-1", step, late)


def test_a_search_without_a_worker_says_so_and_with_one_does_not(world: World) -> None:
    world.enrol()
    dispatch = world.process.get(Dispatch)
    with world.client() as client:
        search_id = client.post("/api/v1/searches", json=latency_spec()).json()["id"]
        assert client.get("/api/v1/workers").json()["items"] == []
        path = f"/api/v1/searches/{search_id}"
        assert client.get(path).json()["waiting_for"] == "no worker is running: start one with 'hilnas worker'"
        (job,) = client.get("/api/v1/jobs", params={"search_id": search_id}).json()["items"]
        assert client.get(f"/api/v1/jobs/{job['id']}").json()["waiting_for"].startswith("no worker is running")

        dispatch.beat(STEPPER)
        assert client.get(path).json()["waiting_for"] == ""
        assert dispatch.claim("host-1", (JobKind.SEARCH_STEP,)) is not None
        (listed,) = client.get("/api/v1/workers").json()["items"]
        assert (listed["id"], listed["is_alive"], listed["kinds"]) == ("host-1", True, ["search_step"])
        assert [(one["id"], one["search_id"]) for one in listed["jobs"]] == [(job["id"], search_id)]

        dispatch.leave("host-1")
        (listed,) = client.get("/api/v1/workers").json()["items"]
        assert (listed["is_alive"], listed["left_at"] is None) == (False, False)
        assert "which has the job" in client.get(path).json()["waiting_for"]


def test_beats_go_on_over_a_failure_and_end_with_a_goodbye() -> None:
    said: list[str] = []

    def beat() -> None:
        said.append("beat")
        if len(said) == 1:
            raise OSError("the database is away")

    with Beats(beat, lambda: said.append("leave"), every_s=0.001):
        deadline_s = time.monotonic() + 10
        while len(said) < 3 and time.monotonic() < deadline_s:
            time.sleep(0.001)
    assert said[:3] == ["beat"] * 3
    assert said[-1] == "leave"
