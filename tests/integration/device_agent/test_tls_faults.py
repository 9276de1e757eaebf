"""Certificates that do not fit: the agent says what is wrong and what to do, ends where waiting is in vain, and nobody
else notices."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from device_agent.failures import TlsError
from device_agent.server_link.link import Link
from device_agent.server_link.tls import LinkSettings, TlsFault, tls_fault
from server.core.paging import PageRequest
from server.fleet.device import DeviceQuery
from server.fleet.rpc_server import TlsFiles, start_rpc_server
from server.jobs.states import JobState
from tests.support.processes.agent_process import AgentProcess
from tests.support.processes.certificates import Authority, Pair
from tests.support.worlds.databases import TestDatabase
from tests.support.worlds.farm import FAKE, Farm

PATIENCE_S = 60.0
LONG_AGO = timedelta(days=2)


@dataclass
class Bench:
    """A service with mutual TLS, its authority, and what agents may be given."""

    folder: Path
    farm: Farm
    authority: Authority
    tls: TlsFiles
    client: Pair

    def start(self, name: str, *options: str, insecure: bool = False, host: str = "127.0.0.1") -> AgentProcess:
        token, port = self.farm.world.secrets.enrolment_token, self.farm.server.port
        agent = AgentProcess(self.folder, port, *FAKE, *options, name=name, token=token, insecure=insecure, host=host)
        self.farm.agents.append(agent)
        return agent

    def pair(self, pair: Pair) -> tuple[str, ...]:
        return ("--ca", str(self.authority.path), "--cert", str(pair.certificate), "--key", str(pair.key))

    def serve(self, tls: TlsFiles | None) -> None:
        """Start the endpoint again on the same port, with other certificates or none."""
        port = self.farm.server.port
        self.farm.server.stop(0.0)
        self.farm.server = start_rpc_server(self.farm.services, f"127.0.0.1:{port}", tls=tls, num_threads=16)

    def does(self, name: str) -> None:
        """A board is given a job and does it."""
        job = self.farm.submit(b"model of " + name.encode(), latency_key=name, like="right")
        assert self.farm.final(job).state is JobState.DONE


@pytest.fixture
def bench(sqlite_database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    authority = Authority(tmp_path)
    served = authority.issue("server")
    tls = TlsFiles(certificate=served.certificate, key=served.key, client_ca=authority.path)
    farm = Farm(sqlite_database, tmp_path, tls=tls)
    yield Bench(tmp_path, farm, authority, tls, authority.issue("agent"))
    farm.close()


def no_certificate(bench: Bench) -> AgentProcess:
    return bench.start("none", "--ca", str(bench.authority.path))


def expired(bench: Bench) -> AgentProcess:
    return bench.start("expired", *bench.pair(bench.authority.issue("old", begins_in=-LONG_AGO)))


def expired_for_clients_alone(bench: Bench) -> AgentProcess:
    old = bench.authority.issue("old-client", begins_in=-LONG_AGO, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    return bench.start("expired", *bench.pair(old))


def for_servers_alone(bench: Bench) -> AgentProcess:
    return bench.start("server", *bench.pair(bench.authority.issue("s", usage=ExtendedKeyUsageOID.SERVER_AUTH)))


def of_another_authority(bench: Bench) -> AgentProcess:
    return bench.start("alien", *bench.pair(Authority(bench.folder, "stranger").issue("alien")))


def wrong_authority_of_the_server(bench: Bench) -> AgentProcess:
    return bench.start("fooled", "--ca", str(Authority(bench.folder, "stranger").path))


def wrong_host(bench: Bench) -> AgentProcess:
    return bench.start("misled", *bench.pair(bench.client), host="localhost")


def plain_text(bench: Bench) -> AgentProcess:
    return bench.start("plain", insecure=True)


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (no_certificate, "asks for a client certificate: give --cert and --key"),
        (expired, "old.pem has expired: make a new one"),
        (expired_for_clients_alone, "old-client.pem has expired: make a new one"),
        (for_servers_alone, "s.pem is not for clients: give --cert and --key one that is"),
        (of_another_authority, "does not accept the client certificate"),
        (wrong_authority_of_the_server, "is not signed by the authority of --ca"),
        (wrong_host, "is not for localhost: dial a name it is for"),
        (plain_text, "speaks TLS: leave --insecure out and give its certificate authority as --ca"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_certificate_that_does_not_fit_ends_the_agent_with_a_remedy(
    bench: Bench, begin: Callable[[Bench], AgentProcess], words: str
) -> None:
    agent = begin(bench)
    try:
        assert agent.wait(PATIENCE_S) == 1
    finally:
        agent.end()
    assert words in agent.log.strip().splitlines()[-1]
    assert "Traceback" not in agent.log
    bench.start("right", *bench.pair(bench.client))
    bench.does("right")
    # By name: the board speaks on meanwhile, and is another value each time it does.
    assert [device.name for device in bench.farm.world.devices.page(DeviceQuery(), PageRequest(100)).items] == ["right"]


def test_a_tls_agent_on_a_plain_port_ends_with_a_remedy(bench: Bench) -> None:
    bench.serve(None)
    agent = bench.start("secure", *bench.pair(bench.client))
    try:
        assert agent.wait(PATIENCE_S) == 1
    finally:
        agent.end()
    assert "speaks no TLS: start the server with --grpc-cert" in agent.log


def test_an_agent_that_was_served_outlasts_a_server_whose_certificate_expired(bench: Bench) -> None:
    agent = bench.start("right", *bench.pair(bench.client))
    bench.does("first")
    old = bench.authority.issue("old-server", begins_in=-LONG_AGO)
    bench.serve(TlsFiles(certificate=old.certificate, key=old.key, client_ca=bench.authority.path))
    bench.farm.until(lambda: "has expired, or this device's clock" in agent.log, PATIENCE_S)
    bench.serve(bench.tls)
    bench.does("second")
    assert agent.process.poll() is None


def test_a_certificate_of_tomorrow_is_the_clocks_fault_and_waited_for(bench: Bench) -> None:
    # Boards without a battery begin in 1970: what is not valid yet may be so when they hear of the time.
    soon = bench.authority.issue("soon", begins_in=timedelta(hours=1))
    bench.serve(TlsFiles(certificate=soon.certificate, key=soon.key))
    fault = tls_fault(LinkSettings(server=f"127.0.0.1:{bench.farm.server.port}", ca_path=bench.authority.path))
    assert fault is not None
    assert not fault.lasting
    assert "set the clock" in fault.text


def test_what_is_no_fault_of_tls_is_none(bench: Bench, tmp_path: Path) -> None:
    def fault(port: int) -> TlsFault | None:
        secure = LinkSettings(
            server=f"127.0.0.1:{port}",
            ca_path=bench.authority.path,
            certificate_path=bench.client.certificate,
            key_path=bench.client.key,
        )
        return tls_fault(secure)

    assert fault(bench.farm.server.port) is None
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert tls_fault(LinkSettings(server=f"127.0.0.1:{port}", insecure=True)) is None  # hangs
    assert fault(port) is None  # nobody there


def test_files_that_cannot_be_used_are_named_before_anything_is_tried(bench: Bench, tmp_path: Path) -> None:
    ours, others = bench.client, bench.authority.issue("other")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate\n")
    missing = tmp_path / "missing.pem"
    for settings, words in (
        (LinkSettings(server="h:1", ca_path=missing), "missing.pem cannot be used: No such file"),
        (LinkSettings(server="h:1", ca_path=garbage), "garbage.pem cannot be used: it is no PEM"),
        (LinkSettings(server="h:1", certificate_path=ours.certificate), "--cert and --key are given together"),
        (
            LinkSettings(server="h:1", certificate_path=ours.certificate, key_path=others.key),
            "they do not belong together",
        ),
    ):
        with pytest.raises(TlsError, match=words):
            Link(settings)
    for tls in (
        TlsFiles(certificate=ours.certificate, key=others.key),
        TlsFiles(certificate=garbage, key=ours.key),
        TlsFiles(certificate=ours.certificate, key=missing),
        TlsFiles(certificate=ours.certificate, key=ours.key, client_ca=garbage),
    ):
        with pytest.raises(OSError, match="cannot be used"):
            start_rpc_server(bench.farm.services, "127.0.0.1:0", tls=tls, num_threads=8)
