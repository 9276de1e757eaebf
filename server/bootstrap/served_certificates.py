"""What is wrong with the certificates that agents are served with, said by the server itself: every one of its agents
would be refused in the handshake, of which gRPC tells the server's log nothing that one could act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from server.fleet.rpc_server import TlsFiles

_log = structlog.get_logger("hilnas.server")
SOON = timedelta(days=30)
_REMEDY = "make a new one (hilnas certs FOLDER --host HOST) and start the server again"


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with a certificate and what to do; `urgent` where agents are refused already."""

    text: str
    urgent: bool = True


@dataclass(frozen=True, slots=True)
class ServedCertificates:
    """The certificates as they were read at the start; what lies at their paths later is not what is served.

    Attributes:
        path, certificate: of the server.
        client_ca, authorities: whom agents' certificates must be signed by; empty where agents show none.
    """

    path: Path
    certificate: x509.Certificate
    client_ca: Path | None = None
    authorities: Sequence[x509.Certificate] = ()

    @classmethod
    def of(cls, tls: TlsFiles) -> ServedCertificates:
        """Read them.

        Raises:
            OSError: they cannot be read, or no agent will ever accept them.
        """
        tls.check()
        certificate = _read(tls.certificate)[0]
        if not _serves(certificate):
            raise OSError(
                f"certificate {tls.certificate} is not for servers, agents refuse it: give server.pem of "
                "hilnas certs FOLDER"
            )
        authorities = () if tls.client_ca is None else _read(tls.client_ca)
        if authorities and not any(_signs(one) for one in authorities):
            raise OSError(
                f"authority of clients {tls.client_ca} signs no certificates, every agent would be refused: give "
                "ca.pem of hilnas certs FOLDER"
            )
        return cls(tls.certificate, certificate, tls.client_ca, authorities)

    def complaints(self, now: datetime) -> list[Complaint]:
        """What the dates of the certificates say at `now`."""
        found = _by_date(f"certificate {self.path}", self.certificate, now)
        for one in self.authorities:
            found += _by_date(f"authority of clients {self.client_ca}", one, now)
        return found

    def say(self) -> None:
        """Log a line for each complaint of now."""
        for one in self.complaints(datetime.now(UTC)):
            (_log.error if one.urgent else _log.warning)(one.text)


def _by_date(what: str, certificate: x509.Certificate, now: datetime) -> list[Complaint]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        clock = f"{now:%Y-%m-%d %H:%M} UTC"
        return [Complaint(f"{what} is not valid before {begin:%Y-%m-%d %H:%M} UTC: set this machine's clock ({clock})")]
    if now > end:
        return [Complaint(f"agents are refused: {what} has expired on {end:%Y-%m-%d}: {_REMEDY}")]
    lifetime = end - begin
    if end - now < min(SOON, lifetime / 3):  # some authorities sign for a week or less, and renew by themselves
        return [Complaint(f"{what} expires on {end:%Y-%m-%d}, agents are refused then: {_REMEDY}", urgent=False)]
    return []


def _read(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:
        raise OSError(f"certificate {path} cannot be used: {error}") from error


def _serves(certificate: x509.Certificate) -> bool:
    """Whether it may be a server's (RFC 5280, 4.2.1.12: any use where none is named)."""
    try:
        usages = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return True
    return bool(usages & {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})


def _signs(certificate: x509.Certificate) -> bool:
    """Whether clients can be trusted by it: an authority's (RFC 5280, 4.2.1.9), or one that signed itself."""
    if certificate.issuer == certificate.subject:
        return True
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False
