"""The API process as it really runs: no torch, first tokens, streams that replay, an end that does not wait."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from hilnas.client.core.event_source import parse
from server.bootstrap.serving.process import listen
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import cheap_spec


def test_the_api_process_holds_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from server.bootstrap.api import build\n"
        "from server.bootstrap.settings import Settings\n"
        "from server.spaces.catalog import SpaceCatalog\n"
        f"process = build(Settings.load({{'home': Path({str(tmp_path)!r})}}))\n"
        "process.app.openapi()\n"
        "for space in process.get(SpaceCatalog).space_ids():\n"
        "    process.get(SpaceCatalog).describe(space, {})\n"
        "heavy = {'torch', 'pymoo', 'kornia', 'onnxruntime', 'ray', 'matplotlib', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def test_a_server_starts_serves_and_ends_clean(tmp_path: Path) -> None:
    with running_server(tmp_path / "home", warm=False) as server:
        for name in ("admin.token", "enrolment.token", "secret.key"):
            assert (server.home / name).stat().st_mode & 0o777 == 0o600
        with server.sdk() as nas:
            search = nas.searches.create(cheap_spec())
            assert [one.id for one in nas.searches.all()] == [search.id]
            assert nas.searches.front(search.id).points == []
            assert nas.version().api == "v1"
        ready = httpx2.get(f"{server.url}/readyz").json()
        assert ready["status"] == "ready"
        assert server.stop() < 10
        assert server.process.returncode == 0
        assert not (server.home / "server.json").exists()


@pytest.mark.parametrize("shared", [False, True], ids=["one process before", "several before"])
@pytest.mark.parametrize("again", [False, True], ids=["one after", "several after"])
def test_an_address_is_free_as_soon_as_a_server_has_ended(shared: bool, again: bool) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listen("127.0.0.1", 0, shared=shared))
        listener.listen()
        port = listener.getsockname()[1]
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        served, _ = listener.accept()
        with pytest.raises(OSError, match="cannot listen on"):
            listen("127.0.0.1", port)
        served.close()  # the side that closes first keeps the connection for a minute (TIME_WAIT)
        assert client.recv(1) == b""
        client.close()
        listener.close()
        listen("127.0.0.1", port).close()  # `--workers` looks in this way whether it is taken
        listen("127.0.0.1", port, shared=again).close()


def test_a_stream_replays_goes_on_and_ends_with_its_search(tmp_path: Path) -> None:
    with running_server(tmp_path / "home") as server, server.sdk() as nas:
        search_id = nas.searches.create(cheap_spec()).id
        seen: list[int] = []
        follower = threading.Thread(target=lambda: seen.extend(e.id for e in nas.searches.events(search_id)))
        follower.start()
        nas.searches.pause(search_id)
        nas.searches.resume(search_id)
        nas.searches.cancel(search_id)
        follower.join(30)
        assert not follower.is_alive()
        everything = [event.id for event in nas.searches.events(search_id)]
        assert seen == everything == sorted(everything)
        assert len(everything) >= 2
        rest = [event.id for event in nas.searches.events(search_id, after_id=everything[0])]
        assert rest == everything[1:]
        headers = {"Authorization": f"Bearer {server.token}", "Accept": "text/event-stream"}
        headers["Last-Event-ID"] = str(everything[-1])
        assert httpx2.get(f"{server.url}/api/v1/searches/{search_id}/events", headers=headers).status_code == 204


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_open_streams_do_not_hold_up_the_end(tmp_path: Path, number: int) -> None:
    with running_server(tmp_path / "home") as server, server.sdk() as nas:
        search_id = nas.searches.create(cheap_spec()).id
        headers = {"Authorization": f"Bearer {server.token}", "Accept": "text/event-stream"}
        url = f"{server.url}/api/v1/searches/{search_id}/events"
        with httpx2.stream("GET", url, headers=headers, timeout=30) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            first = next(parse(response.iter_lines()))
            assert first.type == "state"
            took_s = server.stop(number)
        assert server.process.returncode == 0
        assert took_s < 10  # a stream that is waited for would take its whole 15 minutes


def test_a_killed_server_loses_nothing_and_its_clients_go_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_server(home) as server, server.sdk() as nas:
        search_id = nas.searches.create(cheap_spec(), idempotency_key="once").id
        before = _event_ids(server, search_id)
        server.stop(signal.SIGKILL)
    with running_server(home) as server, server.sdk() as nas:
        assert nas.searches.create(cheap_spec(), idempotency_key="once").id == search_id
        assert _event_ids(server, search_id) == before
        assert nas.searches.cancel(search_id).state.value == "cancelled"


def _event_ids(server: RunningServer, search_id: str) -> list[int]:
    headers = {"Authorization": f"Bearer {server.token}"}
    page = httpx2.get(f"{server.url}/api/v1/searches/{search_id}/events", headers=headers).json()
    return [event["id"] for event in page["items"]]


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with running_server(tmp_path / "home") as server:
        port = server.url.rpartition(":")[2]
        command = [sys.executable, "-m", "hilnas.cli.main", "server", "--home", str(tmp_path / "other")]
        result = subprocess.run([*command, "--port", port, "--grpc-port", "0"], capture_output=True, text=True)
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr


def test_no_authentication_beyond_loopback_is_refused_at_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hilnas.cli.main", "server", "--home", str(tmp_path)]
    result = subprocess.run(
        [*command, "--insecure-no-auth", "--host", "0.0.0.0"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert "insecure_no_auth is refused on 0.0.0.0" in result.stderr
