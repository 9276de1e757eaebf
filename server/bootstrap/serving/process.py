"""One API process: it listens, makes the first tokens and serves until it is told to stop."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

import sqlalchemy as sa
import structlog
import uvicorn

from server.access.changes.changes import Changes
from server.access.tokens import Tokens, new_secret
from server.bootstrap.api import ApiProcess, build
from server.bootstrap.http.connections import raise_file_limit
from server.bootstrap.secret_files import PendingSecret
from server.bootstrap.served_certificates import ServedCertificates
from server.bootstrap.settings import Settings
from server.core.errors import NotAuthenticatedError, StorageFullError
from server.core.home import ADMIN_TOKEN_FILE, SERVER_FILE
from server.core.http.event_stream import EventHub
from server.core.http.patience import patient_protocol
from server.fleet.rpc_server import TlsFiles, start_rpc_server
from server.shipping.bundles import EvidenceBundles
from server.spaces.datasets import DatasetCatalog

_log = structlog.get_logger("hilnas.server")


def status_of(serve: Callable[[], None]) -> int:
    """Serve, and say in a line why that cannot be; returns the exit status."""
    try:
        serve()
    except (OSError, StorageFullError) as error:
        sys.stderr.write(f"hilnas server: {error}\n")
        return 1
    except sa.exc.DBAPIError as error:  # damage that shows only now
        sys.stderr.write(f"hilnas server: the database cannot be used: {error.orig}; restore a backup\n")
        return 1
    return 0


def run(settings: Settings) -> None:
    """Serve in this process until told to stop.

    Raises:
        OSError: an address is taken, or the home folder cannot be used.
    """

    def announce(stack: ExitStack, http_port: int, grpc_port: int) -> None:
        write_server_file(stack, settings, http_port, grpc_port)

    serve_here(settings, announce)


def serve_here(
    settings: Settings, announce: Callable[[ExitStack, int, int], None], *, shares_ports: bool = False
) -> None:
    """Serve until told to stop; everything started here is stopped in the reverse order.

    Args:
        announce: called with what ends with the serving and the ports of REST and of agents, once both are bound.
        shares_ports: other processes of this server listen on the same ports.

    Raises:
        OSError: an address is taken, or the home folder cannot be used.
    """
    raise_file_limit()
    with ExitStack() as stack:
        listener = stack.enter_context(listen(settings.http_host, settings.http_port, shared=shares_ports))
        tls, certificates = None, None
        if settings.grpc_cert is not None and settings.grpc_key is not None:
            tls = TlsFiles(certificate=settings.grpc_cert, key=settings.grpc_key, client_ca=settings.grpc_client_ca)
            certificates = ServedCertificates.of(tls)
            certificates.say()
        process = build(settings)
        stack.callback(process.engine.dispose)
        _make_first_tokens(process.get(Tokens), settings)
        process.get(Changes).note_datasets(one.name for one in process.get(DatasetCatalog).all())
        process.wakeups.start()
        stack.callback(process.wakeups.close)
        process.housekeeping.start(certificates)
        stack.callback(process.housekeeping.stop)
        address = address_text(settings.grpc_host, settings.grpc_port)
        rpc = start_rpc_server(process.agents, address, tls=tls, shares_port=shares_ports)
        stack.callback(rpc.stop, settings.shutdown_s)
        http_port = listener.getsockname()[1]
        http_address = address_text(settings.http_host, http_port)
        grpc_address = address_text(settings.grpc_host, rpc.port)
        _log.info("serving", http=f"http://{http_address}", grpc=grpc_address, auth=not settings.insecure_no_auth)
        _log.info("evidence bundles are signed", key=process.get(EvidenceBundles).key.fingerprint)
        announce(stack, http_port, rpc.port)
        collect_garbage_rarely()
        _serve(process, listener, settings)


def collect_garbage_rarely() -> None:
    """Have collections after more new objects than a page of a list is made of.

    They took an eighth of the time of a page of 500 candidates, and found nothing.
    """
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


_NEW_OBJECTS = 20_000


class _Server(uvicorn.Server):
    """Ends the open event streams as soon as a signal comes: uvicorn would wait for them."""

    def __init__(self, config: uvicorn.Config, hub: EventHub) -> None:
        super().__init__(config)
        self._hub = hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop the server on a signal, called by uvicorn."""
        self._hub.stop()
        super().handle_exit(sig, frame)


def _serve(process: ApiProcess, listener: socket.socket, settings: Settings) -> None:
    config = uvicorn.Config(
        process.app,
        http=patient_protocol(settings.patience),
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=settings.shutdown_s,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
    )
    # uvicorn raises the signals it caught once more when it has ended: ours must not kill us before the clean-up.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _Server(config, process.get(EventHub)).run(sockets=[listener])


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that is bound to an address, with others where it is shared. Raises OSError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # Of shared sockets too: what is left of connections that this side closed would keep the next start from the port.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {address_text(host, port)}: {error.strerror or error}") from error
    return listener


def _make_first_tokens(tokens: Tokens, settings: Settings) -> None:
    """At first start make the two tokens that begin everything, and leave them where their readers look."""
    given_admin, given_enrolment = settings.admin_token.get_secret_value(), settings.enrolment_token.get_secret_value()
    admin = PendingSecret(settings.home / ADMIN_TOKEN_FILE, given_admin or new_secret("adm"))
    enrolment = PendingSecret(settings.effective_enrolment_token_file, given_enrolment or new_secret("enr"))
    made = tokens.bootstrap(admin_secret=admin.secret, enrolment_secret=enrolment.secret)
    ours = made is not None or (admin.left_behind and _is_known(tokens, admin.secret))
    for pending in (admin, enrolment):
        if ours:
            pending.keep()
            _log.info("first token written, readable by its owner alone", file=str(pending.path))
        else:
            pending.drop()


def _is_known(tokens: Tokens, secret: str) -> bool:
    try:
        tokens.authenticate(secret)
    except NotAuthenticatedError:
        return False
    return True


def write_server_file(stack: ExitStack, settings: Settings, http_port: int, grpc_port: int) -> None:
    """Say where we listen in a file, for commands and for programs that start a server on a free port."""
    path = settings.home / SERVER_FILE
    document = {
        "pid": os.getpid(),
        "http_url": f"http://{address_text(settings.http_host, http_port)}",
        "grpc_address": address_text(settings.grpc_host, grpc_port),
    }
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(json.dumps(document), encoding="ascii")
    partial.replace(path)
    stack.callback(path.unlink, missing_ok=True)


def address_text(host: str, port: int) -> str:
    """HOST:PORT, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
