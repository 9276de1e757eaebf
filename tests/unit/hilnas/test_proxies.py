"""Which proxy stands on the way to a server: variables set, malformed, or meant for other programs."""

from __future__ import annotations

import logging

import pytest

from device_agent.failures import AgentError
from device_agent.server_link.proxy import proxy_to
from hilnas.client.client import Hilnas
from hilnas.client.errors import ProxySettingsError
from hilnas.proxies import ProxyError, ProxyVariables, is_loopback, proxy_for

CLIENT = ProxyVariables(naming=(("http_proxy", "HTTP_PROXY"), ("all_proxy", "ALL_PROXY")), schemes=("http", "https"))
BROKEN = [
    "socks://127.0.0.1:1080/",
    "http://",
    "http://host:port",
    "http://[::1",
    "http://a b",
    "ftp://proxy:21",
    "://",
]
PROXY = "http://proxy:3128"
ALL_NAMES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "GRPC_PROXY", "NO_GRPC_PROXY", "HILNAS_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALL_NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"])
def test_this_machine_is_never_reached_through_a_proxy(host: str) -> None:
    assert is_loopback(host)
    for value in [PROXY, *BROKEN]:
        for name in ("http_proxy", "ALL_PROXY", "HILNAS_PROXY"):
            assert proxy_for(host, CLIENT, {name: value, "NO_PROXY": "[["}) is None


@pytest.mark.parametrize("host", ["nas", "localhost.example.org", "10.0.0.1", "1270.0.0.1", "fe80::1"])
def test_other_hosts_are_no_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HILNAS_PROXY"])
@pytest.mark.parametrize("value", BROKEN)
def test_a_malformed_proxy_is_said_in_one_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(ProxyError) as caught:
        proxy_for("nas.example", CLIENT, {name: value})
    said = str(caught.value)
    assert said.startswith(f"{name} is ")
    assert "HILNAS_PROXY=none" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"http_proxy": "", "ALL_PROXY": ""}, None),
        ({"http_proxy": PROXY, "ALL_PROXY": "http://other"}, (PROXY, "http_proxy")),
        ({"http_proxy": "", "HTTP_PROXY": "http://x", "ALL_PROXY": PROXY}, (PROXY, "ALL_PROXY")),
        ({"HTTP_PROXY": "proxy:3128"}, (PROXY, "HTTP_PROXY")),
        ({"https_proxy": PROXY}, None),
        ({"http_proxy": PROXY, "HILNAS_PROXY": "none"}, None),
        ({"http_proxy": "socks://x:1", "HILNAS_PROXY": "none"}, None),
        ({"http_proxy": PROXY, "HILNAS_PROXY": "auto"}, (PROXY, "http_proxy")),
        ({"http_proxy": "socks://x:1", "HILNAS_PROXY": PROXY}, (PROXY, "HILNAS_PROXY")),
    ],
)
def test_variables_are_taken_in_their_order(environment: dict[str, str], found: tuple[str, str] | None) -> None:
    proxy = proxy_for("nas.example", CLIENT, environment)
    assert (None if proxy is None else (proxy.url, proxy.source)) == found


@pytest.mark.parametrize(
    ("host", "entries", "direct"),
    [
        ("nas.example.org", "example.org", True),
        ("nas.example.org", ".example.org", True),
        ("nas.example.org", "*.example.org", True),
        ("nas.example.org", "nas.example.org:8080", True),
        ("NAS.example.org.", "other, nas.EXAMPLE.org", True),
        ("nas.example.org", "ample.org", False),
        ("nas.example.org", "", False),
        ("nas.example.org", "*", True),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("fd00::5", "fd00::/8", True),
        ("fd00::5", "[fd00::5]", True),
    ],
)
def test_hosts_of_no_proxy_are_reached_directly(host: str, entries: str, direct: bool) -> None:
    found = proxy_for(host, CLIENT, {"http_proxy": PROXY, "NO_PROXY": entries})
    assert (found is None) is direct


@pytest.mark.parametrize("entry", ["http://nas", "[::zz", "10.0.0.0/99", "a/b", "ex_ample!org"])
def test_a_malformed_no_proxy_is_said_where_it_matters(entry: str) -> None:
    with pytest.raises(ProxyError, match=r"^NO_PROXY holds "):
        proxy_for("nas.example", CLIENT, {"http_proxy": PROXY, "NO_PROXY": f"ok.example,{entry}"})
    assert proxy_for("nas.example", CLIENT, {"NO_PROXY": entry}) is None


def test_passwords_are_not_shown() -> None:
    proxy = proxy_for("nas.example", CLIENT, {"http_proxy": "http://me:secret@proxy:3128"})
    assert proxy is not None
    assert str(proxy) == "the proxy http://proxy:3128 (http_proxy)"
    for broken in ("ftp://me:secret@proxy", "http://me:secret@[::1"):
        with pytest.raises(ProxyError) as caught:
            proxy_for("nas.example", CLIENT, {"http_proxy": broken})
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", BROKEN)
def test_clients_of_this_machine_open_whatever_is_set_and_others_say_what_is_wrong(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    monkeypatch.setenv("NO_PROXY", "[::1")
    for url in ("http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"):
        Hilnas(url).close()
    monkeypatch.delenv("NO_PROXY")
    with pytest.raises(ProxySettingsError, match=r"^ALL_PROXY is "):
        Hilnas("http://nas.example:8080")
    monkeypatch.setenv("HILNAS_PROXY", "none")
    Hilnas("http://nas.example:8080").close()


def test_agents_take_what_grpc_takes_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    proxy = proxy_to("nas.example:50051", "", {"http_proxy": PROXY, "HTTPS_PROXY": "http://other"})
    assert proxy is not None
    assert proxy.url == PROXY
    assert "nas.example:50051 is reached through the proxy http://proxy:3128 (http_proxy); --proxy none" in caplog.text
    assert proxy_to("nas.example:50051", "none", {"http_proxy": PROXY}) is None
    assert proxy_to("nas.example:50051", "", {"http_proxy": PROXY, "no_grpc_proxy": "nas.example"}) is None
    assert proxy_to("127.0.0.1:50051", "http://other:1", {"http_proxy": PROXY}) is None
    assert proxy_to("unix:///run/hilnas", "", {"http_proxy": PROXY}) is None
    told = proxy_to("nas.example:50051", "http://other:1", {"http_proxy": PROXY})
    assert told is not None
    assert str(told) == "the proxy http://other:1 (--proxy)"


def test_agents_say_which_variable_they_do_not_use(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert proxy_to("nas.example:50051", "", {"ALL_PROXY": "socks://x:1"}) is None
    assert "ALL_PROXY names a proxy and is not used here" in caplog.text
    caplog.clear()
    assert proxy_to("nas.example:50051", "none", {"ALL_PROXY": "socks://x:1"}) is None
    assert proxy_to("localhost:50051", "", {"ALL_PROXY": "socks://x:1"}) is None
    assert caplog.text == ""


@pytest.mark.parametrize("value", [*BROKEN, "https://proxy:3128", "socks5://proxy:1080"])
def test_agents_go_directly_where_a_shared_variable_is_malformed_and_stop_where_their_own_is(
    value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert proxy_to("nas.example:50051", "", {"https_proxy": value}) is None
    assert "https_proxy is " in caplog.text
    assert "nas.example:50051 is tried directly" in caplog.text
    with pytest.raises(AgentError, match=r"^--proxy is "):
        proxy_to("nas.example:50051", value, {})
    with pytest.raises(AgentError, match=r"^HILNAS_PROXY is "):
        proxy_to("nas.example:50051", "", {"HILNAS_PROXY": value})
