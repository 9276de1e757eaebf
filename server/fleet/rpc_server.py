"""The gRPC server: servicers, limits, keepalive, TLS, health."""

from __future__ import annotations

import contextlib
import ctypes
import ssl
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from hilnas.v1 import artifacts_pb2_grpc, control_pb2_grpc
from server.artifacts.rpc import ArtifactStream
from server.core.rpc.guard import BoundedMessages
from server.core.rpc.wire_bounds import MAX_MESSAGE_BYTES
from server.fleet.rpc import AgentControl, AgentServices

MAX_METADATA_BYTES = 8192  # a credential has some 50
_M_MMAP_THRESHOLD = -3  # malloc.h
SERVICES = ("hilnas.v1.AgentControl", "hilnas.v1.Artifacts")
SERVER_OPTIONS = (
    # Agents ping every 20 s without calls. The default minimum of 300 s would end their connections with GOAWAY
    # too_many_pings (grpc#33661); and since grpc 34647 the server's own ping_timeout wins over keepalive_timeout.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Server certificate and key; with `client_ca` agents must show a certificate signed by it."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """See that gRPC can serve with them, which says of none of these faults which file has it.

        Raises:
            OSError: a file is missing or no PEM, or certificate and key do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password="")
        except OSError as error:
            raise OSError(f"certificate {self.certificate} with key {self.key} cannot be used: {error}") from error
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except OSError as error:
                raise OSError(f"authority of clients {self.client_ca} cannot be used: {error}") from error


@dataclass(frozen=True, slots=True)
class RpcServer:
    """A running gRPC server and the port it listens on."""

    server: grpc.Server
    port: int
    health: health.HealthServicer

    def stop(self, grace_s: float = 5.0) -> None:
        """Say NOT_SERVING, let calls end for `grace_s` seconds, then end them."""
        self.health.enter_graceful_shutdown()
        self.server.stop(grace_s).wait()


def start_rpc_server(
    services: AgentServices,
    address: str,
    *,
    tls: TlsFiles | None = None,
    num_threads: int = 128,
    shares_port: bool = False,
) -> RpcServer:
    """Start serving agents.

    Args:
        services: the use cases.
        address: HOST:PORT; port 0 takes a free one.
        tls: certificates; None serves in the clear, for loopback and private networks only.
        shares_port: other processes of this server listen there too; the system spreads connections over them.
        num_threads: one is held by every agent that waits for work; a quarter is kept free for everything else.

    Raises:
        OSError: the address cannot be bound, or the certificates cannot be used.
    """
    # Have glibc take what is large from the system and give it back when it is freed. Left alone it moves that bound up
    # with what it has seen, to 32 MiB, and keeps the holes that a few large results leave.
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=num_threads, thread_name_prefix="rpc"),
        interceptors=[BoundedMessages()],
        # A port that is taken is an error, not a second server beside the first, unless it is meant.
        options=(*SERVER_OPTIONS, ("grpc.so_reuseport", int(shares_port))),
    )
    control = AgentControl(services, max_polls=max(1, num_threads * 3 // 4))
    control_pb2_grpc.add_AgentControlServicer_to_server(control, server)  # type: ignore[no-untyped-call]
    artifacts = ArtifactStream(services.devices.authenticate, services.check_fetch, services.artifacts)
    artifacts_pb2_grpc.add_ArtifactsServicer_to_server(artifacts, server)  # type: ignore[no-untyped-call]
    reporter = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(reporter, server)
    try:
        port = _bind(server, address, tls)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    if not port:
        raise OSError(f"cannot listen on {address}: is it taken?")
    server.start()
    for name in ("", *SERVICES):
        reporter.set(name, health_pb2.HealthCheckResponse.SERVING)
    return RpcServer(server, port, reporter)


def _bind(server: grpc.Server, address: str, tls: TlsFiles | None) -> int:
    if tls is None:
        return server.add_insecure_port(address)
    tls.check()
    credentials = grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())],
        root_certificates=tls.client_ca.read_bytes() if tls.client_ca else None,
        require_client_auth=tls.client_ca is not None,
    )
    return server.add_secure_port(address, credentials)
