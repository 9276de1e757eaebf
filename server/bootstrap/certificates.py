"""A certificate authority of one's own for the agents' endpoint: CA, server and client certificates."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS, LEAF_DAYS = 3650, 825
_BACKDATED = datetime.timedelta(hours=1)  # boards without a battery start with a clock that is late


class CertificateError(Exception):
    """A certificate cannot be made."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, PEM files; the key is readable by its owner alone."""

    certificate: Path
    key: Path


class Authority:
    """A CA in a folder (``ca.pem``, ``ca.key``); made when it is not there yet."""

    def __init__(self, folder: Path) -> None:
        """Raises CertificateError: only one of the two files is there, or they cannot be read or written."""
        self._folder = folder
        self.pair = Pair(folder / "ca.pem", folder / "ca.key")
        there = [path.exists() for path in (self.pair.certificate, self.pair.key)]
        if any(there) and not all(there):
            raise CertificateError(f"{folder} holds only one of ca.pem and ca.key: put the other back, or remove it")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._key, self._certificate = self._read() if all(there) else self._make()
        except (OSError, ValueError) as error:
            raise CertificateError(f"the certificate authority in {folder} cannot be used: {error}") from error

    def issue_server(self, names: Sequence[str], *, file_name: str = "server") -> Pair:
        """A certificate for a server reached under `names` (DNS names or addresses)."""
        if not names:
            raise CertificateError("a server certificate needs at least one host name or address")
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        return self._issue(names[0], file_name, ExtendedKeyUsageOID.SERVER_AUTH, alternatives)

    def issue_client(self, name: str) -> Pair:
        """A certificate that an agent shows, for servers that ask for one (mutual TLS)."""
        if not name or "/" in name or name in ("ca", "server", ".", ".."):
            raise CertificateError(f"client name {name!r}: choose another one")
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name)])
        return self._issue(name, name, ExtendedKeyUsageOID.CLIENT_AUTH, alternatives)

    def _issue(
        self, common_name: str, file_name: str, usage: x509.ObjectIdentifier, names: x509.SubjectAlternativeName
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(common_name, self._certificate.subject, key.public_key(), LEAF_DAYS)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(authority_key, critical=False)
        )
        pair = Pair(self._folder / f"{file_name}.pem", self._folder / f"{file_name}.key")
        _write(pair, builder.sign(self._key, hashes.SHA256()), key)
        return pair

    def _make(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hilnas certificate authority")])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder("hilnas certificate authority", subject, key.public_key(), CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(self.pair, certificate, key)
        return key, certificate

    def _read(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = serialization.load_pem_private_key(self.pair.key.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{self.pair.key} is not an elliptic-curve key")
        return key, x509.load_pem_x509_certificate(self.pair.certificate.read_bytes())


def _builder(
    common_name: str, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(pair: Pair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    scratch = pair.key.with_name(f".{pair.key.name}.new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    os.replace(scratch, pair.key)
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
