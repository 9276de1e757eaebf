"""Wires that are cut and disks that are full, with real agents and the real service."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas_engine.domain.job_protocol import FailureType
from server.jobs.states import JobPhase, JobState
from tests.support.processes.agent_process import AgentProcess
from tests.support.processes.cut_wire import CutWire
from tests.support.worlds.farm import Farm

SLOW = ("--runtime", "fake", "--device-type", "fake-board", "--poll-s", "1", "--fake-real-time")


@pytest.fixture
def wire(farm: Farm) -> Iterator[CutWire]:
    opened = CutWire(farm.server.port)
    yield opened
    opened.close()


def dial(
    farm: Farm, folder: Path, port: int, *arguments: str, name: str = "bench-1", prefix: tuple[str, ...] = ()
) -> AgentProcess:
    token = farm.world.secrets.enrolment_token
    agent = AgentProcess(folder, port, *(arguments or SLOW), name=name, token=token, prefix=prefix)
    farm.agents.append(agent)
    return agent


def slow_model(latency_us: float) -> bytes:
    return json.dumps({"hilnas_fake": 1, "latency_us": latency_us}).encode()


def test_a_cut_shorter_than_the_lease_costs_nothing(farm: Farm, wire: CutWire, tmp_path: Path) -> None:
    dial(farm, tmp_path, wire.port)
    job = farm.submit(slow_model(500_000.0))  # seconds on the board, so that the cut falls into them
    farm.until(lambda: farm.world.dispatch.get(job.id).phase in (JobPhase.WARMUP, JobPhase.MEASURING))
    wire.cut()
    farm.until(lambda: "measured" in farm.agents[0].log)  # the job ends without the server
    wire.mend()
    done = farm.final(job)
    assert (done.state, done.attempt) == (JobState.DONE, 1)
    assert len(farm.measurements()) == 1


def test_a_result_that_comes_after_another_device_did_the_job_is_kept_but_not_used(
    farm: Farm, wire: CutWire, tmp_path: Path
) -> None:
    dial(farm, tmp_path, wire.port, name="cut-off")
    job = farm.submit(slow_model(500_000.0), like="cut-off")
    farm.until(lambda: farm.world.dispatch.get(job.id).accepted)
    wire.cut()
    farm.lose(job)
    dial(farm, tmp_path, farm.server.port, name="bench-2")
    farm.until(lambda: farm.world.dispatch.get(job.id).state.final, timeout_s=60.0)
    assert farm.world.dispatch.get(job.id).state is JobState.DONE
    wire.mend()
    farm.until(lambda: "result" in farm.agents[0].log or "lease_lost" in farm.agents[0].log, timeout_s=60.0)
    authoritative = [r for r in farm.measurements() if not r.superseded]
    assert len(authoritative) == 1
    assert authoritative[0].device_id == farm.device("bench-2").id


@pytest.mark.long
def test_a_connection_that_dies_without_a_word_is_found_out_by_keepalive(
    farm: Farm, wire: CutWire, tmp_path: Path
) -> None:
    dial(farm, tmp_path, wire.port)
    job = farm.submit(slow_model(300_000.0))
    farm.until(lambda: farm.world.dispatch.get(job.id).phase is JobPhase.MEASURING)
    wire.strand()  # nobody closes it; only who dials anew gets through
    spool = farm.agents[0].state_dir / "spool"
    farm.until(lambda: any(spool.glob("*.result")), timeout_s=60.0)
    # Pings every 20 s, given up after 10 s; the call that waits then fails, and the next one dials.
    farm.until(lambda: not any(spool.glob("*.result")), timeout_s=60.0)
    assert farm.world.dispatch.get(job.id).state is JobState.DONE
    assert len(farm.measurements()) == 1


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit (util-linux) is not installed")
def test_a_full_disk_is_the_devices_fault_and_is_said(farm: Farm, tmp_path: Path) -> None:
    # No file of this agent may grow beyond 100 kB: the same errors at the same places as a disk that is full.
    dial(farm, tmp_path, farm.server.port, prefix=("prlimit", "--fsize=100000"))
    job = farm.submit(b"m" * 300_000, max_attempts=1)
    done = farm.final(job)
    assert done.failure_type is FailureType.AGENT_FAULT
    assert "cannot store" in done.failure_message
    assert farm.final(farm.submit(slow_model(500.0), latency_key="small")).state is JobState.DONE
