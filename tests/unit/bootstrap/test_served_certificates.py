"""What the server says of certificates with which it would serve nobody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from server.bootstrap.certificates import Authority, Pair
from server.bootstrap.served_certificates import ServedCertificates
from server.fleet.rpc_server import TlsFiles
from tests.support.processes.certificates import Authority as ShortLived


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certs")


def tls_of(pair: Pair, client_ca: Path | None = None) -> TlsFiles:
    return TlsFiles(certificate=pair.certificate, key=pair.key, client_ca=client_ca)


@pytest.mark.parametrize(
    ("days", "said", "urgent"),
    [
        (0, None, False),
        (-2, "server.pem is not valid before", True),
        (800, "server.pem expires on", False),
        (826, "agents are refused: certificate", True),
        (3651, "agents are refused: authority of clients", True),
    ],
)
def test_dates_are_said_before_and_after_they_refuse_agents(
    authority: Authority, days: int, said: str | None, urgent: bool
) -> None:
    tls = tls_of(authority.issue_server(["localhost"]), authority.pair.certificate)
    found = ServedCertificates.of(tls).complaints(datetime.now(UTC) + timedelta(days=days))
    if said is None:
        assert found == []
    else:
        assert [one for one in found if said in one.text and one.urgent is urgent], found
        assert all("hilnas certs" in one.text or "set this machine's clock" in one.text for one in found)


def test_what_no_agent_will_ever_accept_ends_the_start(authority: Authority) -> None:
    server, client = authority.issue_server(["localhost"]), authority.issue_client("bench")
    with pytest.raises(OSError, match=r"bench\.pem is not for servers, agents refuse it: give server\.pem"):
        ServedCertificates.of(tls_of(client))
    with pytest.raises(OSError, match=r"bench\.pem signs no certificates, every agent would be refused: give ca\.pem"):
        ServedCertificates.of(tls_of(server, client.certificate))
    with pytest.raises(OSError, match="cannot be used"):
        ServedCertificates.of(tls_of(server, server.key))


def test_a_certificate_of_a_week_is_complained_of_in_its_last_third_alone(tmp_path: Path) -> None:
    pair = ShortLived(tmp_path).issue("short")  # for a day
    served = ServedCertificates.of(TlsFiles(certificate=pair.certificate, key=pair.key))
    now = datetime.now(UTC)
    assert served.complaints(now) == []
    assert [one.urgent for one in served.complaints(now + timedelta(hours=20))] == [False]


def test_what_is_wrong_now_is_a_line_of_the_log(tmp_path: Path) -> None:
    pair = ShortLived(tmp_path).issue("old", begins_in=timedelta(days=-2))
    with capture_logs() as lines:
        ServedCertificates.of(TlsFiles(certificate=pair.certificate, key=pair.key)).say()
    (line,) = lines
    assert line["log_level"] == "error"
    assert "old.pem has expired" in line["event"]
