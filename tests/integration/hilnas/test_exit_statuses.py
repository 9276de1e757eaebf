"""How commands end when they are interrupted, when the server goes away, and when they succeed: real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hilnas.cli.exit_status import ExitStatus
from tests.support.paths import ROOT
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.samples.datasets import striped_images
from tests.support.samples.training_run import tiny_config, tiny_space
from tests.support.worlds.api_world import cheap_spec

_START_S = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("statuses") / "home") as started:
        yield started


def _take_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Typed:
    """A command in a process of its own, what it writes in files."""

    def __init__(self, folder: Path, server: RunningServer | None, *words: str) -> None:
        self.out, self.err = folder / "out", folder / "err"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HILNAS_")}
        environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        if server is not None:
            environment |= {"HILNAS_URL": server.url, "HILNAS_TOKEN": server.token}
        with self.out.open("wb") as out, self.err.open("wb") as err:
            command = [sys.executable, "-m", "hilnas.cli.main", *words]
            # Where the tests themselves run in the background they ignore Ctrl-C, which what they start would inherit.
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=err, preexec_fn=_take_interrupts
            )

    def wait_for(self, path: Path, text: str = "") -> None:
        """Wait until a file is there and holds a text."""
        deadline_s = time.monotonic() + _START_S
        while not (path.exists() and text.encode() in path.read_bytes()):
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < deadline_s, f"{path} does not hold {text!r}: {self.err.read_text()}"
            time.sleep(0.05)

    def interrupt(self) -> int:
        """Press Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(_START_S)


def test_ctrl_c_ends_following_and_leaves_the_search_alone(server: RunningServer, tmp_path: Path) -> None:
    with server.sdk() as nas:
        search = nas.searches.create(cheap_spec())
        followed = Typed(tmp_path, server, "search", "follow", search.id)
        followed.wait_for(followed.out, "evaluated 0/")
        assert followed.interrupt() == ExitStatus.INTERRUPTED
        assert "Traceback" not in followed.err.read_text()
        assert not nas.searches.get(search.id).state.final
        nas.searches.cancel(search.id)
    ended = Typed(tmp_path, server, "search", "follow", search.id)
    assert ended.process.wait(_START_S) == ExitStatus.FAILED
    assert f"search {search.id} is cancelled" in ended.err.read_text()


def test_a_server_that_goes_away_while_a_search_is_followed(tmp_path: Path) -> None:
    with running_server(tmp_path / "home") as server:
        with server.sdk() as nas:
            search = nas.searches.create(cheap_spec())
        followed = Typed(tmp_path, server, "search", "follow", search.id, "--json")
        followed.wait_for(followed.err, "evaluated 0/")
        server.stop(signal.SIGKILL)
        assert followed.process.wait(_START_S) == ExitStatus.UNREACHABLE
    *_, line = followed.err.read_text().splitlines()
    assert line.startswith("hilnas search: ")
    assert server.url in line
    assert "Traceback" not in followed.err.read_text()
    assert followed.out.read_text() == ""


def test_ctrl_c_ends_a_local_training_which_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    train, test = striped_images(90), striped_images(30, seed=1)
    data = tmp_path / "stripes.npz"
    np.savez(data, x_train=train.pixels, y_train=train.labels, x_test=test.pixels, y_test=test.labels)
    spec = tmp_path / "spec.json"
    space = {"id": "spos", "parameters": dict(tiny_space(0.0).parameters)}
    recipe = tiny_config(5000).model_dump(mode="json")
    spec.write_text(json.dumps({**recipe, "name": "stripes", "dataset": "stripes", "space": space}))
    out = tmp_path / "trained.safetensors"
    here = ("--local", "--data", str(data), "--format", "npz", "--device", "cpu", "--out", str(out))
    training = Typed(tmp_path, None, "supernets", "train", str(spec), *here)
    training.wait_for(out.with_name(f"{out.name}.checkpoint"))
    assert training.interrupt() == ExitStatus.INTERRUPTED
    assert "Traceback" not in training.err.read_text()
    assert not out.exists()


def test_a_server_and_an_agent_drain_at_ctrl_c_and_end_well(tmp_path: Path) -> None:
    with running_server(tmp_path / "home", warm=False) as server:
        state = ("--state-dir", str(tmp_path / "state"), "--host-lock", str(tmp_path / "lock"))
        enrolment = (server.home / "enrolment.token").read_text().strip()
        options = ("--device-type", "cpu-emulator", "--enrolment-token", enrolment, *state)
        agent = Typed(tmp_path, None, "agent", "--insecure", "--server", server.grpc_address, "--name", "b", *options)
        with server.sdk() as nas:
            deadline_s = time.monotonic() + _START_S
            while not list(nas.devices.all()):
                assert agent.process.poll() is None, agent.err.read_text()
                assert time.monotonic() < deadline_s, agent.err.read_text()
                time.sleep(0.1)
        assert agent.interrupt() == ExitStatus.DONE, agent.err.read_text()
        server.stop(signal.SIGINT)
        assert server.process.returncode == ExitStatus.DONE
