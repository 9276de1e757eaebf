"""Clients that send half a request, or leave all at once, keep nobody else waiting. Real sockets, a real process."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

from server.core.http.event_stream import StreamLimits
from tests.support.processes.api_process import RunningServer, running_server

_NUM_HALVES = 900
_NUM_STREAMS = 1000
_TIMEOUT_S = 2.0
_SLACK_S = 20.0  # the host is shared


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("slow") / "home"
    with running_server(home, "--header-timeout-s", str(_TIMEOUT_S), "--body-timeout-s", str(_TIMEOUT_S)) as running:
        yield running


def _connect(server: RunningServer, sent: bytes) -> socket.socket:
    parts = urlsplit(server.url)
    one = socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=30.0)
    one.sendall(sent)
    return one


def _closed(sockets: list[socket.socket], within_s: float) -> int:
    """How many the server has closed (or answered and closed) in time."""
    selector, num = selectors.DefaultSelector(), 0
    for one in sockets:
        one.setblocking(False)
        selector.register(one, selectors.EVENT_READ)
    deadline_s = time.monotonic() + within_s
    while num < len(sockets) and time.monotonic() < deadline_s:
        for key, _ in selector.select(0.2):
            found = key.fileobj
            assert isinstance(found, socket.socket)
            try:
                ended = found.recv(65536) == b""
            except ConnectionResetError:
                ended = True
            if ended:
                selector.unregister(found)
                num += 1
    selector.close()
    return num


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GE",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\ntoken=",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHo",
    ],
    ids=["nothing", "two-letters", "headers", "body", "second-request"],
)
def test_hundreds_of_half_requests_are_closed_and_others_are_answered_meanwhile(
    server: RunningServer, half: bytes
) -> None:
    sockets = [_connect(server, half) for _ in range(_NUM_HALVES // 5)]
    try:
        with httpx2.Client(timeout=30.0) as http:
            assert http.get(f"{server.url}/healthz").status_code == 200
        assert _closed(sockets, _TIMEOUT_S + _SLACK_S) == len(sockets)
    finally:
        for one in sockets:
            one.close()


def test_a_body_that_does_not_come_is_answered_408(server: RunningServer) -> None:
    head = f"PUT /api/v1/artifacts/{'0' * 64} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n"
    with _connect(server, f"{head}Content-Length: 100000\r\n\r\nabc".encode()) as one:
        one.settimeout(_TIMEOUT_S + _SLACK_S)
        assert one.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_slow_body_that_keeps_coming_is_taken(server: RunningServer) -> None:
    """One that takes longer than the bare time-out, at more than the least rate."""
    content, digest = bytes(200_000), "26d99c8cf1c21d78c8ae0c3a1ea8d21d6ce1a5a0a9f2d3b9ad8f5a3e0f6d5c4b"
    head = f"PUT /api/v1/artifacts/{digest} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n"
    with _connect(server, f"{head}Content-Length: {len(content)}\r\n\r\n".encode()) as one:
        for start in range(0, len(content), 20_000):
            one.sendall(content[start : start + 20_000])
            time.sleep(0.35)
        one.settimeout(_SLACK_S)
        answer = one.recv(65536)
    assert answer.startswith(b"HTTP/1.1 422 "), answer  # read whole: its digest is looked at, and is another


def test_a_get_is_fast_while_a_thousand_event_streams_close_at_once(server: RunningServer) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=30.0) as http:
        body = {"name": "watcher", "roles": ["viewer"]}
        num_tokens = -(-_NUM_STREAMS // StreamLimits().max_per_token)
        secrets = [http.post("/api/v1/tokens", json=body).json()["secret"] for _ in range(num_tokens)]
        sockets = []
        for number in range(_NUM_STREAMS):
            head = "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            sockets.append(
                _connect(server, f"{head}Authorization: Bearer {secrets[number % num_tokens]}\r\n\r\n".encode())
            )
        for one in sockets:
            assert one.recv(1000).startswith(b"HTTP/1.1 200 ")
        usual_s = _timed(http)
        for one in sockets:
            one.close()
        took_s = max(_timed(http) for _ in range(5))
    assert took_s < max(1.0, 5 * usual_s), (took_s, usual_s)


def _timed(http: httpx2.Client) -> float:
    start_s = time.monotonic()
    assert http.get("/api/v1/searches").status_code == 200
    return time.monotonic() - start_s
