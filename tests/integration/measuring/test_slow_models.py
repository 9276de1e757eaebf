"""A model that is too slow for its profile is tried once, and one that was disturbed again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas_engine.domain.job_protocol import FailureType
from nas_engine.domain.measurement import SampleBlock, Validity, ValidityFlag
from server.artifacts.files import FileByteStore
from server.jobs.states import JobState
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.service_world import World, lease_of, measurement, put_measurement, result_digest

PARTIAL = ValidityFlag(Validity.PARTIAL, "1 blocks of 3 wanted")


@pytest.fixture
def world(sqlite_database: TestDatabase, tmp_path: Path) -> World:
    return World(sqlite_database, FileByteStore(tmp_path / "artifacts"))


def measured_once(world: World, run_s: float, num_runs: int) -> Any:
    """The job after an attempt that was cut short, with one block of equal runs."""
    device = world.enrol()
    world.search(measurement={"validity_policy": "accept_flagged", "profile": "quick"})
    world.worker.run()
    job = device.take()
    assert job is not None
    block = SampleBlock(e2e_ns=(round(run_s * 1e9),) * num_runs)
    sent = replace(measurement(1e6 * run_s, (PARTIAL,)), blocks=(block,))
    put_measurement(world.results, device.id, lease_of(job), sent, result_digest(job, sent))
    return world.dispatch.get(job.id)


def test_a_model_of_3_6_s_a_run_fails_at_once_and_names_the_profile_that_fits(world: World) -> None:
    job = measured_once(world, 3.6, 3)
    assert (job.state, job.attempt, job.failure_type) == (JobState.FAILED, 1, FailureType.UNSUPPORTED)
    assert job.failure_message.startswith("one run takes 3.6 s, and profile quick ends after 6 s")
    assert "that it needs: take profile standard (" in job.failure_message


def test_a_fast_model_cut_short_is_tried_again_and_told_what_the_policy_does_not_take(world: World) -> None:
    job = measured_once(world, 0.001, 100)
    assert (job.state, job.failure_type) == (JobState.QUEUED, FailureType.INTERFERED)
    assert "accept_flagged takes noisy results, not those cut short" in job.failure_message
