"""The SDK and the commands through a real proxy, and past one that is set for others."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from hilnas.client.errors import ServerUnreachableError
from hilnas.client.transport import RetryPolicy, Transport
from tests.support.commands import devices
from tests.support.processes.forward_proxy import ForwardProxy, forward_proxy

ONCE = RetryPolicy(max_attempts=1)
NAMES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "HILNAS_PROXY")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForwardProxy]:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with forward_proxy() as opened:
        yield opened


def test_a_server_elsewhere_is_reached_through_the_proxy_that_is_set(
    proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:secret@"))
    assert Transport("http://nas.example:8080", "nas_x_y", retry=ONCE).get("/api") == {"a": 1}
    (head,) = proxy.heads
    assert head.startswith("GET http://nas.example:8080/api ")
    assert "proxy-authorization: basic bWU6c2VjcmV0" in head.replace("Basic", "basic").replace("Proxy-A", "proxy-a")


@pytest.mark.parametrize("base_url", ["http://nas.example:8080", "https://nas.example:8080"])
def test_a_proxy_that_refuses_is_named(proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, base_url: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    proxy.refusal = "403 Forbidden"
    with pytest.raises(ServerUnreachableError) as caught:
        Transport(base_url, retry=ONCE).get("/api")
    said = str(caught.value)
    assert "403" in said
    assert f"through the proxy {proxy.url} (ALL_PROXY); HILNAS_PROXY=none goes without it" in said
    assert len(proxy.heads) == 1


def test_this_machine_is_reached_past_a_proxy_that_is_set(proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks://nowhere:1")
    monkeypatch.setenv("ALL_PROXY", "socks://nowhere:1")
    assert Transport(proxy.url, retry=ONCE).get("/api") == {"a": 1}  # the proxy serves as a server here
    assert proxy.heads[0].startswith("GET /api ")
    with pytest.raises(ValueError, match="proxy"):
        httpx2.Client()  # what happens without our care


def test_a_command_says_in_one_line_which_variable_is_malformed(
    proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1080/")
    assert devices.main(["list", "--server", "http://nas.example:8080", "--token", "nas_x"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hilnas devices: ALL_PROXY is 'socks://127.0.0.1:1080/', and no socks:// proxy can be used")
