"""Real agents behind a bad wire: two network namespaces, with loss, delay, cuts and changes of address between them.

The wire is HILNAS_RIG's tapnetem.py; it needs root, `ip` and /dev/net/tun.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.jobs.states import JobState
from tests.support.processes.agent_process import AgentProcess
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import Farm, fake_model

QUICK = ("--runtime", "fake", "--isolation", "none", "--device-type", "fake-board", "--poll-s", "1")
SLOW = ("--runtime", "fake", "--device-type", "fake-board", "--poll-s", "1", "--fake-real-time")
HERE, THERE, ELSEWHERE = "198.18.77.1", "198.18.77.2", "198.18.77.3"
PATIENCE_S = 120.0


def why_no_wires() -> str | None:
    """Why namespaces cannot be wired here; None where they can."""
    rig = os.environ.get("HILNAS_RIG", "")
    if not rig or not (Path(rig) / "tapnetem.py").is_file():
        return "HILNAS_RIG names no folder with tapnetem.py"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    if shutil.which("ip") is None or not Path("/dev/net/tun").exists():
        return "there is no ip command, or no /dev/net/tun"
    name = f"hilnas-try-{uuid.uuid4().hex[:6]}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return "network namespaces are not allowed here"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None


_reason = why_no_wires()
pytestmark = pytest.mark.skipif(_reason is not None, reason=_reason or "")


class BadWire:
    """A namespace for boards, and a wire from here to there that can be made worse while it is used."""

    def __init__(self) -> None:
        number = uuid.uuid4().hex[:6]
        self.namespace, self._device = f"hilnas-{number}", f"hil{number}"
        _ip("netns", "add", self.namespace)
        _ip("-n", self.namespace, "link", "set", "lo", "up")
        command = [sys.executable, str(Path(os.environ["HILNAS_RIG"]) / "tapnetem.py"), f"pid:{os.getpid()}"]
        command += [self.namespace, "--dev", self._device, "--seed", "7"]
        command += ["--addr-a", f"{HERE}/24", "--addr-b", f"{THERE}/24"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._hear("up")

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command is begun with that shall run on the other side."""
        return ("ip", "netns", "exec", self.namespace)

    def become(self, settings: str) -> None:
        """E.g. ``delay=50 loss=5`` or ``down=1``."""
        assert self._process.stdin is not None
        self._process.stdin.write(settings + "\n")
        self._process.stdin.flush()
        self._hear("set")

    def move(self) -> None:
        """Give the other side another address: what is connected from the old one is never answered any more."""
        _ip("-n", self.namespace, "addr", "del", f"{THERE}/24", "dev", self._device)
        _ip("-n", self.namespace, "addr", "add", f"{ELSEWHERE}/24", "dev", self._device)

    def close(self) -> None:
        """Take everything down."""
        self._process.kill()
        self._process.wait(10.0)
        _ip("netns", "del", self.namespace)

    def _hear(self, word: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith(word), f"the wire says {line!r}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def wire() -> Iterator[BadWire]:
    opened = BadWire()
    yield opened
    opened.close()


@pytest.fixture
def farm(sqlite_database: TestDatabase, tmp_path: Path, wire: BadWire) -> Iterator[Farm]:
    # The wire first: the server listens at its end of it.
    opened = Farm(sqlite_database, tmp_path, "0.0.0.0:0")
    yield opened
    opened.close()


def dial(farm: Farm, folder: Path, wire: BadWire, name: str, *arguments: str) -> AgentProcess:
    """An agent on the other side."""
    token = farm.world.secrets.enrolment_token
    agent = AgentProcess(
        folder, farm.server.port, *(arguments or QUICK), name=name, token=token, prefix=wire.prefix, host=HERE
    )
    farm.agents.append(agent)
    return agent


def slow_model(latency_us: float) -> bytes:
    return json.dumps({"hilnas_fake": 1, "latency_us": latency_us}).encode()


def authoritative_devices(farm: Farm) -> list[str]:
    return [str(record.device_id) for record in farm.measurements() if not record.superseded]


def test_delay_and_loss_cost_time_and_nothing_else(farm: Farm, wire: BadWire, tmp_path: Path) -> None:
    wire.become("delay=60 jitter=20 loss=5 dup=2")
    for name in ("far-1", "far-2"):
        dial(farm, tmp_path, wire, name)
    farm.until(lambda: bool(farm.device("far-1") and farm.device("far-2")), PATIENCE_S)
    models = [fake_model(latency_us=500.0 + n) + b" " * 50_000 for n in range(6)]
    jobs = [farm.submit(model, latency_key=f"lk{n}", like="far-1") for n, model in enumerate(models)]
    farm.until(lambda: all(farm.world.dispatch.get(job.id).state.final for job in jobs), PATIENCE_S)
    assert {farm.world.dispatch.get(job.id).state for job in jobs} == {JobState.DONE}
    by_job = [record.job_id for record in farm.measurements() if not record.superseded]
    assert sorted(map(str, by_job)) == sorted(job.id for job in jobs)


def test_a_partition_longer_than_the_lease_gives_the_job_to_another_board(
    farm: Farm, wire: BadWire, tmp_path: Path
) -> None:
    far = dial(farm, tmp_path, wire, "far", *SLOW)
    job = farm.submit(slow_model(300_000.0), like="far")
    farm.until(lambda: farm.world.dispatch.get(job.id).accepted, PATIENCE_S)
    wire.become("down=1")
    farm.lose(job)
    farm.start(*SLOW, name="near")
    farm.until(lambda: farm.world.dispatch.get(job.id).state is JobState.DONE, PATIENCE_S)
    wire.become("down=0")
    farm.until(lambda: "result" in far.log or "lease_lost" in far.log, PATIENCE_S)
    assert authoritative_devices(farm) == [farm.device("near").id]
    again = farm.submit(fake_model(latency_us=900.0), latency_key="again", like="far")
    farm.until(lambda: farm.world.dispatch.get(again.id).state is JobState.DONE, PATIENCE_S)


def test_a_board_that_changes_its_address_finds_its_way_back(farm: Farm, wire: BadWire, tmp_path: Path) -> None:
    dial(farm, tmp_path, wire, "far", *SLOW)
    job = farm.submit(slow_model(200_000.0), like="far")
    farm.until(lambda: farm.world.dispatch.get(job.id).accepted, PATIENCE_S)
    # The old connection is half open now: nobody closes it, and nothing comes through.
    wire.move()
    farm.until(lambda: farm.world.dispatch.get(job.id).state.final, PATIENCE_S)
    assert farm.world.dispatch.get(job.id).state is JobState.DONE
    next_job = farm.submit(fake_model(latency_us=900.0), latency_key="next", like="far")
    farm.until(lambda: farm.world.dispatch.get(next_job.id).state is JobState.DONE, PATIENCE_S)
    assert len(authoritative_devices(farm)) == 2
