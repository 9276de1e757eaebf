"""TLS with the server: the files of this end, and which end is at fault where no connection comes about.

gRPC reports every refused handshake as a server that is away. Where it does, `tls_fault` shakes hands once more with
the standard library, which says what is wrong; a fault that waiting does not mend ends an agent that never got through.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from device_agent.failures import TlsError
from device_agent.server_link.proxy import ProxyRefusalError, connected, host_and_port
from hilnas.proxies import Proxy

_TIMEOUT_S = 3.0
_TWICE_PAUSE_S = 0.5
_NOT_YET_VALID, _EXPIRED, _WRONG_PURPOSE, _HOST_MISMATCH, _ADDRESS_MISMATCH = (
    9,
    10,
    26,
    62,
    64,
)  # X509_V_ERR_* of OpenSSL
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)  # RFC 9113, 3.4: with empty SETTINGS


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Where the server is and how to trust it.

    Attributes:
        server: HOST:PORT.
        insecure: no TLS; for loopback and private networks of one host only.
        ca_path: certificate authority; None takes the system's.
        certificate_path, key_path: client certificate, where the server asks for one.
        proxy: on the way there; None for the direct one.
    """

    server: str
    insecure: bool = False
    ca_path: Path | None = None
    certificate_path: Path | None = None
    key_path: Path | None = None
    proxy: Proxy | None = None


@dataclass(frozen=True, slots=True)
class TlsFault:
    """Why no connection comes about, with the remedy; `lasting` where waiting does not mend it."""

    text: str
    lasting: bool = True


def check_files(settings: LinkSettings) -> None:
    """See that the files can be used, before gRPC takes them without a word.

    Raises:
        TlsError: one is missing, is no PEM, or certificate and key do not belong together.
    """
    if not settings.insecure:
        _context(settings)


def tls_fault(settings: LinkSettings) -> TlsFault | None:
    """Find out by handshakes of this agent's own why calls do not reach the server; None for everything but TLS and a
    proxy on the way.

    A fault is reported only where two handshakes in a row agree: a server that ends just now is none.
    """
    where = host_and_port(settings.server)
    if where is None:
        return None
    first = _one_fault(settings, *where)
    if first is None:
        return None
    time.sleep(_TWICE_PAUSE_S)
    return first if _one_fault(settings, *where) == first else None


def _one_fault(settings: LinkSettings, host: str, port: int) -> TlsFault | None:
    server = settings.server
    context = _context(settings)
    try:
        with (
            connected(host, port, settings.proxy, _TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            if settings.insecure:
                return TlsFault(f"{server} speaks TLS: leave --insecure out and give its certificate authority as --ca")
            return None if _is_answered(secure) else _refused_client(settings)
    except ProxyRefusalError as error:
        return TlsFault(str(error), lasting=False)  # the next try may be let through
    except ssl.SSLCertVerificationError as error:
        return _distrusted_server(settings, host, error)
    except ssl.SSLError as error:
        if settings.insecure or error.reason not in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            return None
        return TlsFault(
            f"{server} speaks no TLS: start the server with --grpc-cert and --grpc-key, or, on a private network, "
            "the agent with --insecure"
        )
    except OSError:
        return None


def _is_answered(secure: ssl.SSLSocket) -> bool:
    """Whether the server goes on after the handshake: with TLS 1.3 it refuses a client's certificate only then."""
    try:
        secure.sendall(_PREFACE)
        return secure.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def _refused_client(settings: LinkSettings) -> TlsFault:
    path = settings.certificate_path
    if path is None:
        return TlsFault(
            f"{settings.server} asks for a client certificate: give --cert and --key, signed by the authority of the "
            "server's --grpc-client-ca"
        )
    verdict = _verdict_on_own_certificate(settings)
    if verdict == _NOT_YET_VALID:
        return TlsFault(
            f"the client certificate {path} is not valid yet by this device's clock "
            f"({time.strftime('%Y-%m-%d %H:%M')}): set the clock",
            lasting=False,
        )
    if verdict == _WRONG_PURPOSE:
        return TlsFault(
            f"the certificate {path} is not for clients: give --cert and --key one that is "
            "(hilnas certs FOLDER --host HOST --client NAME)"
        )
    if verdict == _EXPIRED:
        return TlsFault(
            f"the client certificate {path} has expired: make a new one (hilnas certs FOLDER --host HOST --client NAME)"
        )
    return TlsFault(
        f"{settings.server} does not accept the client certificate {path}: it must be signed by the authority of the "
        "server's --grpc-client-ca"
    )


def _distrusted_server(settings: LinkSettings, host: str, error: ssl.SSLCertVerificationError) -> TlsFault:
    server, code = settings.server, error.verify_code
    if code == _NOT_YET_VALID:  # boards without a battery begin in 1970, until they hear of the time
        return TlsFault(
            f"the certificate of {server} is not valid yet by this device's clock ({time.strftime('%Y-%m-%d %H:%M')}): "
            "set the clock",
            lasting=False,
        )
    if code == _EXPIRED:
        return TlsFault(
            f"the certificate of {server} has expired, or this device's clock ({time.strftime('%Y-%m-%d %H:%M')}) is "
            "ahead: make the server a new one (hilnas certs)"
        )
    if code in (_HOST_MISMATCH, _ADDRESS_MISMATCH):
        return TlsFault(
            f"the certificate of {server} is not for {host}: dial a name it is for, or make the server one for this "
            f"name (hilnas certs FOLDER --host {host})"
        )
    signers = f"the authority of --ca {settings.ca_path}" if settings.ca_path else "the system's authorities"
    return TlsFault(
        f"the certificate of {server} is not signed by {signers} ({error.verify_message}): give the server's own "
        "authority as --ca, and make sure that this is the server you mean"
    )


def _context(settings: LinkSettings) -> ssl.SSLContext:
    """This end's files, as the standard library takes them; without TLS any server is good enough to be recognised."""
    if settings.insecure:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    certificate, key = settings.certificate_path, settings.key_path
    if (certificate is None) != (key is None):
        raise TlsError("--cert and --key are given together or not at all")
    try:
        context = ssl.create_default_context(cafile=settings.ca_path)
    except OSError as error:
        raise TlsError(f"--ca {settings.ca_path} cannot be used: {_reason(error)}") from error
    if certificate is not None and key is not None:
        try:
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise TlsError(f"--cert {certificate} with --key {key} cannot be used: {_reason(error)}") from error
    context.set_alpn_protocols(["h2"])
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "they do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else "it is no PEM file of that"
    return getattr(error, "strerror", None) or str(error)


def _verdict_on_own_certificate(settings: LinkSettings) -> int:
    """Look at a client certificate's dates and purpose alone: a handshake in memory with a server that trusts just it.

    Returns:
        The code of OpenSSL's verification, 0 where both are right.
    """
    assert settings.certificate_path is not None
    owner, judge = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    owner.check_hostname, owner.verify_mode, judge.verify_mode = False, ssl.CERT_NONE, ssl.CERT_REQUIRED
    judge.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    judge.load_verify_locations(settings.certificate_path)
    for context in (owner, judge):  # the judge must show some certificate as well, and is believed
        context.load_cert_chain(settings.certificate_path, settings.key_path)
    to_owner, to_judge = ssl.MemoryBIO(), ssl.MemoryBIO()
    shows = owner.wrap_bio(to_owner, to_judge)
    asks = judge.wrap_bio(to_judge, to_owner, server_side=True)
    try:
        for end in (shows, asks, shows, asks):  # hello, request, certificate, verdict
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLCertVerificationError as error:
        return error.verify_code
    except ssl.SSLError:
        return 0
    return 0
