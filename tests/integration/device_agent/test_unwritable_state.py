"""A board whose card turns read-only: at its start one line and a status, later a line in its log and nothing lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType
from server.jobs.states import JobPhase, JobState
from tests.integration.device_agent.test_agent_partitions import SLOW, slow_model
from tests.support.fakes.small_disk import SmallDisk, small_disk
from tests.support.paths import ROOT
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import Farm

START = (sys.executable, "-m", "device_agent.cli", "--insecure", "--runtime", "fake", "--isolation", "none")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "card", size_mb=8) as mounted:
        yield mounted


@pytest.fixture
def farm(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Farm]:
    opened = Farm(sqlite_database, tmp_path)
    yield opened
    opened.close()


def last_line(state_dir: Path) -> str:
    """The one line with which an agent's start ends."""
    options = ("--server", "127.0.0.1:1", "--enrolment-token", "nas_enr_any", "--state-dir", str(state_dir))
    ended = subprocess.run((*START, *options), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    return line


def test_a_state_directory_that_cannot_be_written_ends_a_start(disk: SmallDisk) -> None:
    used = disk.path / "used"
    used.mkdir()
    with disk.read_only():
        for state_dir in (used, disk.path / "new"):
            assert f"state directory {state_dir} cannot be used: [Errno 30] Read-only" in last_line(state_dir)
    disk.fill()
    assert f"state directory {used} cannot be written: [Errno 28] No space left" in last_line(used)
    assert not [path for path in used.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.mark.long
def test_a_card_that_turns_read_only_in_mid_job_loses_nothing(farm: Farm, disk: SmallDisk) -> None:
    agent = farm.start(*SLOW, "--state-dir", str(disk.path / "state"))
    job = farm.submit(slow_model(300_000.0))
    farm.until(lambda: farm.world.dispatch.get(job.id).phase is JobPhase.MEASURING)
    with disk.read_only():
        farm.until(lambda: farm.world.dispatch.get(job.id).state is JobState.DONE, timeout_s=60.0)
        assert "result cannot be spooled" in agent.log
        other = farm.submit(slow_model(500.0), latency_key="new", max_attempts=1)
        farm.until(lambda: farm.world.dispatch.get(other.id).failure_message != "", timeout_s=60.0)
        given_back = farm.world.dispatch.get(other.id)
        assert (given_back.state, given_back.failure_type) == (JobState.QUEUED, FailureType.DEVICE_BUSY)
        assert "read-only: cannot store an artifact: [Errno 30] Read-only file system" in given_back.failure_message
    farm.until(lambda: farm.world.dispatch.get(other.id).state is JobState.DONE, timeout_s=90.0)
    assert agent.process.poll() is None
    assert "Traceback" not in agent.log
    assert len([record for record in farm.measurements() if not record.superseded]) == 2
