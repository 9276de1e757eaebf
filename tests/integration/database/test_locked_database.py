"""Whoever reads never waits for whoever writes: another process holds SQLite's write lock, and every GET goes on."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from server.access.auth import SESSION_COOKIE
from server.core.database.transaction import MAX_WAITING_WRITERS
from tests.golden.test_openapi import GOLDEN
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import cheap_spec

_PAGES = ("/", "/fleet", "/latencies", "/fragments/searches", "/fragments/fleet", "/metrics", "/readyz", "/healthz")
_LONGEST_S = 2.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("locked") / "home") as running:
        yield running


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    connection = sqlite3.connect(home / "hilnas.sqlite3", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def _paths(ids: dict[str, str]) -> list[str]:
    """Every GET of the description, with ids that exist where there are some."""
    document = json.loads(GOLDEN.read_text(encoding="utf-8"))
    found = []
    for path, item in document["paths"].items():
        if "get" in item:
            for part in path.split("{")[1:]:
                name = part.split("}")[0]
                path = path.replace(f"{{{name}}}", ids.get(name, "nothing"))
            found.append(path)
    return found


def test_every_get_answers_while_another_process_writes(server: RunningServer) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=30.0) as http, httpx2.Client() as browser:
        search = http.post("/api/v1/searches", json=cheap_spec()).json()
        token = http.post("/api/v1/tokens", json={"name": "fresh", "roles": ["viewer"]}).json()
        browser.post(f"{server.url}/login", data={"token": server.token})
        ids = {"search_id": search["id"], "token_id": token["id"], "space_id": "spos"}
        slow = {}
        with _locked(server.home):
            # Never used before: its first use is noted, not written.
            fresh = {"Authorization": f"Bearer {token['secret']}"}
            asked = [(path, headers) for path in (*_paths(ids), *_PAGES)] + [("/api/v1/searches", fresh)]
            cookie = {"Cookie": f"{SESSION_COOKIE}={browser.cookies[SESSION_COOKIE]}", "Authorization": ""}
            asked += [(path, cookie) for path in _PAGES]
            for path, sent in asked:
                start_s = time.monotonic()
                status = http.get(path, headers={name: value for name, value in sent.items() if value}).status_code
                assert status < 500, (path, status)
                if (took_s := time.monotonic() - start_s) > _LONGEST_S:
                    slow[path] = took_s
        assert slow == {}
        assert len(asked) > 60


def test_readers_find_room_beside_more_writers_than_may_wait(server: RunningServer) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}

    def post(number: int) -> int:
        with httpx2.Client(timeout=60.0) as http:
            body = {"name": f"waits {number}", "roles": ["viewer"]}
            answer = http.post(f"{server.url}/api/v1/tokens", json=body, headers=headers)
            assert answer.status_code in (201, 503)
            assert (answer.status_code == 503) is ("retry-after" in answer.headers)
            return int(answer.status_code)

    num = MAX_WAITING_WRITERS + 30
    with ThreadPoolExecutor(num) as pool, httpx2.Client(timeout=30.0) as http:
        with _locked(server.home):
            posts = [pool.submit(post, number) for number in range(num)]
            time.sleep(2.0)
            start_s = time.monotonic()
            assert http.get(f"{server.url}/api/v1/searches", headers=headers).status_code == 200
            took_s = time.monotonic() - start_s
        statuses = [one.result() for one in posts]
    assert took_s < _LONGEST_S
    assert 201 in statuses


def test_the_last_use_of_a_token_is_shown_at_once_and_written_later(server: RunningServer) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx2.Client(base_url=server.url, headers=headers) as http:
        made = http.post("/api/v1/tokens", json={"name": "used", "roles": ["viewer"]}).json()
        assert http.get(f"/api/v1/tokens/{made['id']}").json()["last_used_at"] is None
        http.get("/api/v1/searches", headers={"Authorization": f"Bearer {made['secret']}"})
        assert http.get(f"/api/v1/tokens/{made['id']}").json()["last_used_at"] is not None
    deadline_s = time.monotonic() + 40
    stored = None
    while stored is None and time.monotonic() < deadline_s:
        time.sleep(0.5)
        with sqlite3.connect(server.home / "hilnas.sqlite3") as database:
            found = database.execute("SELECT last_used_at FROM api_tokens WHERE id = ?", (made["id"],)).fetchone()
        stored = found[0]
    assert stored is not None
