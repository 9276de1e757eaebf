"""What `--follow` shows while no board can take what it waits for, against a real server."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from hilnas.cli.progress import follow_search
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.measurement import DeviceClass
from server.fleet.device import Device
from server.fleet.sessions import AgentReport
from tests.integration.measuring.test_measure_model import model_bytes
from tests.support.commands import devices, measure, tables
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import World, latency_spec
from tests.support.worlds.enrolment_tokens import token_for
from tests.support.worlds.table_world import DENSE_SPACE

PATIENCE_S = 30.0
GONE = "no board of type 'away' is online, last seen 20"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("following") / "home") as running:
        yield running


@pytest.fixture(scope="module")
def world(server: RunningServer) -> Iterator[World]:
    """The server's database, with a board that has been there and has left."""
    opened = World.open(server.home)
    token = token_for(opened.process.uow, DeviceClass.EMULATED, "away")
    leave(opened, opened.enrol("bench-1", "away", DeviceClass.EMULATED, token))
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _found_by_environment(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILNAS_URL", server.url)
    monkeypatch.setenv("HILNAS_TOKEN", server.token)
    monkeypatch.setenv("COLUMNS", "200")


def leave(world: World, board: Device) -> None:
    world.process.agents.sessions.sync(
        AgentReport(
            device_id=board.id,
            boot_id="boot",
            instance_epoch=1,
            agent_version="test",
            capabilities=board.capabilities,
            leaving=True,
        )
    )


def until_said(read: Callable[[], str], then: Callable[[], object]) -> threading.Thread:
    """Do something once a text says who is missed, or patience has ended."""

    def wait() -> None:
        deadline = time.monotonic() + PATIENCE_S
        while GONE not in read() and time.monotonic() < deadline:
            time.sleep(0.05)
        then()

    waiting = threading.Thread(target=wait)
    waiting.start()
    return waiting


def test_a_followed_measurement_says_who_is_missed(
    server: RunningServer, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(model_bytes())
    options = ["--device-type", "away", "--accept-flagged"]
    assert measure.main([str(model), *options]) == 0
    said = capsys.readouterr().out
    job_id = said.split()[0]
    assert GONE in said.replace("\n", " ")
    assert devices.main(["queue"]) == 0
    assert f"{job_id}: {GONE}" in capsys.readouterr().out
    server.sdk().jobs.cancel(job_id)


def test_a_followed_table_says_who_is_missed(
    server: RunningServer, world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spec = tmp_path / "table.json"
    spec.write_text(json.dumps({"space": DENSE_SPACE, "device": {"device_type": "away"}}))
    shown = io.StringIO()

    def end() -> None:
        (table,) = server.sdk().latency_tables.all(limit=1)
        server.sdk().latency_tables.cancel(table.id)

    def said() -> str:
        shown.write(capsys.readouterr().out)
        return shown.getvalue().replace("\n", " ")

    waiting = until_said(said, end)
    assert tables.main(["create", str(spec), "--follow"]) == 1
    (ended,) = server.sdk().latency_tables.all(limit=1)
    assert tables.main(["follow", ended.id]) == 1, "it did not complete"
    waiting.join(PATIENCE_S)
    assert GONE in said()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_followed_search_says_who_is_missed_although_nothing_happens(
    server: RunningServer, world: World, terminal: bool
) -> None:
    spec: dict[str, JsonValue] = latency_spec(1, device={"device_type": "away"})
    with server.sdk() as nas:
        search = nas.searches.create(spec)
        shown = io.StringIO()
        console = Console(file=shown, width=300, force_terminal=terminal)

        def order_and_wait() -> None:
            time.sleep(0.5)  # the follower has shown all that happened: from here on no event speaks of the board
            world.step([[0, 0, 0, 0]])
            world.convert_all()

        threading.Thread(target=order_and_wait).start()
        waiting = until_said(shown.getvalue, lambda: server.sdk().searches.cancel(search.id))
        ended = follow_search(nas, search.id, console, look_s=0.2)
        waiting.join(PATIENCE_S)
    assert ended.state.value == "cancelled"
    assert re.search(rf"waiting.*{GONE}", shown.getvalue())
