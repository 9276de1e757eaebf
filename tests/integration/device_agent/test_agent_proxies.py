"""Real agents and a real proxy: through it where it is on the way, past it where it is not, and said either way."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_agent.cli import build_parser
from device_agent.server_link.proxy import VARIABLES, proxy_to
from device_agent.server_link.tls import LinkSettings, tls_fault
from hilnas.proxies import Proxy
from server.fleet.rpc_server import TlsFiles
from server.jobs.states import JobState
from tests.support.paths import ROOT
from tests.support.processes.agent_process import AgentProcess
from tests.support.processes.certificates import Authority
from tests.support.processes.forward_proxy import ForwardProxy, forward_proxy
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import FAKE, Farm, fake_model

ELSEWHERE = "nas.example"
NAMES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "GRPC_PROXY", "NO_GRPC_PROXY", "HILNAS_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def proxy(farm: Farm) -> Iterator[ForwardProxy]:
    with forward_proxy(farm.server.port) as opened:
        yield opened


def start(farm: Farm, folder: Path, *options: str, host: str = ELSEWHERE) -> AgentProcess:
    token = farm.world.secrets.enrolment_token
    agent = AgentProcess(folder, farm.server.port, *FAKE, *options, token=token, host=host)
    farm.agents.append(agent)
    return agent


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("by", ["http_proxy", "HILNAS_PROXY", "--proxy"])
def test_an_agent_behind_a_proxy_measures_and_says_what_it_goes_through(
    farm: Farm, tmp_path: Path, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by != "--proxy":
        monkeypatch.setenv(by, proxy.url)
    agent = start(farm, tmp_path, *(("--proxy", proxy.url) if by == "--proxy" else ()))
    assert farm.final(farm.submit(fake_model())).state is JobState.DONE
    assert proxy.heads[0].startswith(f"CONNECT {ELSEWHERE}:{farm.server.port} ")
    assert f"{ELSEWHERE}:{farm.server.port} is reached through the proxy {proxy.url} ({by})" in agent.log


def test_a_server_on_this_machine_is_reached_past_every_proxy(
    farm: Farm, tmp_path: Path, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.refusal = "403 Forbidden"
    for name in ("http_proxy", "grpc_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    start(farm, tmp_path, host="127.0.0.1")
    farm.device()
    assert proxy.heads == []


def test_a_proxy_that_is_in_the_way_is_named_and_can_be_left_out(
    farm: Farm, tmp_path: Path, proxy: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.refusal = "403 Forbidden"
    monkeypatch.setenv("http_proxy", proxy.url)
    agent = start(farm, tmp_path)
    until(lambda: "does not let this agent through" in agent.log)
    said = f"the proxy {proxy.url} (http_proxy) does not let this agent through to {ELSEWHERE}:{farm.server.port}"
    assert (
        f"{said} (HTTP/1.1 403 Forbidden): have it allow CONNECT to there, or go without it: --proxy none" in agent.log
    )
    agent.end()
    num_asked = len(proxy.heads)
    direct = start(farm, tmp_path, "--proxy", "none")
    until(lambda: "UNAVAILABLE" in direct.log.rpartition("does not let")[2])  # nobody knows that name here
    assert len(proxy.heads) == num_asked


def test_a_proxy_that_is_away_is_named() -> None:
    away = Proxy("http://127.0.0.1:9", "grpc_proxy")
    fault = tls_fault(LinkSettings(server="nas.example:50051", insecure=True, proxy=away))
    assert fault is not None
    assert not fault.lasting
    assert fault.text.startswith("the proxy http://127.0.0.1:9 (grpc_proxy) cannot be reached")


def test_faults_of_tls_are_found_through_the_proxy_too(sqlite_database: TestDatabase, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    served = authority.issue("server")
    farm = Farm(sqlite_database, tmp_path, tls=TlsFiles(certificate=served.certificate, key=served.key))
    try:
        with forward_proxy(farm.server.port) as proxy:
            settings = LinkSettings(
                server=f"localhost.example:{farm.server.port}",
                ca_path=stranger.path,
                proxy=Proxy(proxy.url.replace("//", "//me:secret@"), "--proxy"),
            )
            fault = tls_fault(settings)
            assert fault is not None
            assert "is not signed by the authority of --ca" in fault.text
            assert "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in proxy.heads[0]
    finally:
        farm.close()


def test_a_malformed_proxy_option_ends_the_agent_in_one_line(farm: Farm, tmp_path: Path) -> None:
    agent = start(farm, tmp_path, "--proxy", "socks5://proxy:1080")
    assert agent.wait() == 1
    (line,) = agent.log.strip().splitlines()
    assert line.startswith("hilnas agent: --proxy is 'socks5://proxy:1080', and no socks5:// proxy can be used here")


PAGE = ROOT / "docs/how-to/boards_behind_nat_and_proxies.md"


def test_the_how_to_page_s_commands_do_what_it_says(farm: Farm, tmp_path: Path, proxy: ForwardProxy) -> None:
    page = PAGE.read_text()
    lines = [shlex.split(line) for line in re.findall(r"^\$ hilnas agent (.*)$", page, re.MULTILINE)]
    parsed = [build_parser().parse_args(line) for line in lines]
    shared = {"http_proxy": "http://shared:1"}
    found = [proxy_to(one.server, one.proxy, shared) for one in parsed]
    assert [None if one is None else one.url for one in found] == [None, "http://proxy.example.org:3128", None]
    # The one that names a proxy, for real: with this test's proxy and server in the places of the page's.
    options = ["--proxy", proxy.url, "--name", parsed[1].name]
    host, _, _ = parsed[1].server.rpartition(":")
    start(farm, tmp_path, *options, host=host)
    farm.device(parsed[1].name)
    assert proxy.heads[0].startswith(f"CONNECT {host}:")
    named = [*VARIABLES.naming[0], *VARIABLES.excluding, "HILNAS_PROXY"]
    assert [name for name in named if f"`{name}`" not in page] == []
