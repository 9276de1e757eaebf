"""Sessions of the web pages end when they should, and take their open event streams with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from pydantic import ValidationError

from server.access.auth import SESSION_COOKIE
from server.access.page_session import PageSessionSettings
from server.access.sessions import Sessions
from server.access.tokens import Tokens
from server.bootstrap.settings import Settings
from server.core.errors import NotAuthenticatedError
from tests.support.processes.api_process import RunningServer, running_server
from tests.support.worlds.api_world import ADMIN, World

_SOON_S = 8.0


def _browser(world: World) -> httpx2.Client:
    client = world.client(None)
    client.follow_redirects = False
    assert client.post("/login", data={"token": ADMIN}).status_code == 303
    return client


def test_a_cookie_is_good_until_the_logout_and_not_after_it(world: World) -> None:
    client = _browser(world)
    kept = client.cookies[SESSION_COOKIE]
    assert ADMIN not in kept
    assert client.get("/api/v1/searches").status_code == 200
    client.post("/logout")
    client.cookies.set(SESSION_COOKIE, kept)  # what a thief has
    assert client.get("/api/v1/searches").status_code == 401


def test_a_token_is_no_cookie_and_a_cookie_is_no_token(world: World) -> None:
    client = world.client(None)
    client.cookies.set(SESSION_COOKIE, ADMIN)
    assert client.get("/api/v1/searches").status_code == 401
    assert world.client(world.session()).get("/api/v1/searches").status_code == 401


def test_a_session_ends_with_its_token(world: World) -> None:
    admin = world.client()
    made = admin.post("/api/v1/tokens", json={"name": "short", "roles": ["viewer"]}).json()
    client = world.client(None)
    client.cookies.set(SESSION_COOKIE, world.session(made["secret"]))
    assert client.get("/api/v1/searches").status_code == 200
    admin.delete(f"/api/v1/tokens/{made['id']}")
    assert client.get("/api/v1/searches").status_code == 401


def test_a_session_lasts_while_it_is_used_and_no_longer_than_its_bound(world: World) -> None:
    tokens = world.process.get(Tokens)
    sessions = Sessions(world.process.uow, tokens, PageSessionSettings(idle_s=0.6, max_s=1.6))
    secret = sessions.start(ADMIN)
    for _ in range(3):  # longer than it would last unused
        time.sleep(0.4)
        sessions.authenticate(secret)
        sessions.write_uses()
    again = Sessions(world.process.uow, tokens, sessions.settings)  # another server sees what was written
    again.authenticate(secret)
    time.sleep(0.7)
    with pytest.raises(NotAuthenticatedError, match="sign in again"):
        again.authenticate(secret)


def test_the_cookie_is_secure_behind_a_proxy_that_is_named_and_only_there(tmp_path: Path) -> None:
    def cookie(url: str) -> str:
        with httpx2.Client() as browser:
            headers = {"X-Forwarded-Proto": "https"}
            return str(browser.post(f"{url}/login", data={"token": token}, headers=headers).headers["set-cookie"])

    for name, options, secure in (("a", ("--trusted-proxies", "127.0.0.1,10.0.0.7"), True), ("b", (), False)):
        with running_server(tmp_path / name, *options) as server:
            token = server.token
            assert ("; secure" in cookie(server.url).lower()) is secure


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("sessions") / "home") as running:
        yield running


def _viewer(server: RunningServer, **changes: int) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {server.token}"}
    body = {"name": "viewer", "roles": ["viewer"], **changes}
    with httpx2.Client() as http:
        made: dict[str, str] = http.post(f"{server.url}/api/v1/tokens", json=body, headers=headers).json()
    return made


def _revoke(server: RunningServer, token: dict[str, str], _: httpx2.Client) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx2.Client() as http:
        http.delete(f"{server.url}/api/v1/tokens/{token['id']}", headers=headers)


def _log_out(server: RunningServer, _: dict[str, str], browser: httpx2.Client) -> None:
    browser.post(f"{server.url}/logout")


@pytest.mark.parametrize(
    ("by_cookie", "end"), [(False, _revoke), (True, _revoke), (True, _log_out)], ids=["token", "cookie", "logout"]
)
def test_an_open_event_stream_ends_within_seconds_with_what_opened_it(
    server: RunningServer, by_cookie: bool, end: Callable[[RunningServer, dict[str, str], httpx2.Client], None]
) -> None:
    token = _viewer(server)
    with httpx2.Client(timeout=_SOON_S) as browser, httpx2.Client(timeout=_SOON_S) as other:
        headers = {"Accept": "text/event-stream"}
        if by_cookie:
            browser.post(f"{server.url}/login", data={"token": token["secret"]})
            other.cookies.set(SESSION_COOKIE, browser.cookies[SESSION_COOKIE])
        else:
            headers["Authorization"] = f"Bearer {token['secret']}"
        with browser.stream("GET", f"{server.url}/api/v1/events", headers=headers) as stream:
            assert stream.status_code == 200
            lines = stream.iter_lines()
            assert next(lines).startswith("retry:")
            end(server, token, other)
            start_s = time.monotonic()
            for _ in lines:  # ends when the server ends the stream
                pass
            assert time.monotonic() - start_s < _SOON_S


@pytest.mark.parametrize(
    "host", ["admin@localhost", "localhost/x", "local host", "localhost:80:80", "[::1", "localhost:x", "a\tb", "é"]
)
def test_a_host_with_anything_but_a_name_and_a_port_is_malformed(world: World, host: str) -> None:
    response = world.client().get("/api/v1/searches", headers=[(b"Host", host.encode())])
    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")


@pytest.mark.parametrize("host", ["testserver", "localhost:8080", "LOCALHOST", "127.0.0.1:1"])
def test_hosts_that_are_allowed_are_answered(world: World, host: str) -> None:
    assert world.client().get("/api/v1/searches", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("proxy", ["nonsense", "10.0.0.1/8", "10.0.0.0/33", "proxy.example"])
def test_a_proxy_that_would_trust_nobody_is_refused(proxy: str) -> None:
    assert Settings.load({"trusted_proxies": "10.0.0.0/8, ::1"}).trusted_proxies == ("10.0.0.0/8", "::1")
    with pytest.raises(ValidationError, match="neither an address nor a network"):
        Settings.load({"trusted_proxies": proxy})
