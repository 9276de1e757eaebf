"""The gRPC channel to the server: credentials, keepalive, deadlines, and errors as the agent wants them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import Enum

import grpc

from device_agent.failures import JobFailedError
from device_agent.server_link.artifacts import FetchInterruptedError
from device_agent.server_link.tls import LinkSettings, check_files
from device_agent.stop import StopToken
from hilnas.v1 import artifacts_pb2, artifacts_pb2_grpc, control_pb2, control_pb2_grpc
from nas_engine.domain.job_protocol import FailureType

CALL_TIMEOUT_S = 15.0
FETCH_IDLE_TIMEOUT_S = 600.0
SYNC_GRACE_S = 10.0  # beyond the long-poll the server was asked for
CHANNEL_OPTIONS = (
    # Pings through NATs that forget idle connections; the server allows them (server/fleet/rpc_server.py). Values
    # that the server's defaults would answer with GOAWAY too_many_pings.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Since grpc 34647 this one decides, and is a minute by default: a server whose kernel still acknowledges what its
    # frozen process never reads would be held on to for so long.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A server that is back is found within seconds; jitter between calls is ours.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", 4 * 2**20),
    ("grpc.max_send_message_length", 64 * 2**20),
)


class Trouble(Enum):
    """What to do about a failed call."""

    RETRY = "retry"
    UNAUTHENTICATED = "unauthenticated"
    REFUSED = "refused"  # trying again soon is of no use
    INVALID = "invalid"  # this very message will never be taken


def trouble(error: grpc.RpcError) -> Trouble:
    """Sort a failed call by what to do about it; unknown codes are retried."""
    match status(error):
        case grpc.StatusCode.UNAUTHENTICATED:
            return Trouble.UNAUTHENTICATED
        case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.FAILED_PRECONDITION | grpc.StatusCode.UNIMPLEMENTED:
            return Trouble.REFUSED
        case grpc.StatusCode.INVALID_ARGUMENT:
            return Trouble.INVALID
        case _:
            return Trouble.RETRY


def status(error: grpc.RpcError) -> grpc.StatusCode:
    """Return a failed call's code; UNKNOWN where the library gives none."""
    ask = getattr(error, "code", None)  # RpcErrors of calls are grpc.Calls as well, which no type says
    code = ask() if callable(ask) else None
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


def describe(error: grpc.RpcError) -> str:
    """Put a failed call's code and details on one line for the log."""
    ask = getattr(error, "details", None)
    details = ask() if callable(ask) else str(error)
    return f"{status(error).name}: {' '.join(str(details).split())[:500]}"


class Link:
    """Calls to one server. Thread-safe, as gRPC channels are.

    Raises:
        TlsError: the files for TLS cannot be used.
    """

    def __init__(self, settings: LinkSettings) -> None:
        check_files(settings)
        self._channel = _channel(settings)
        self._control = control_pb2_grpc.AgentControlStub(self._channel)  # type: ignore[no-untyped-call]
        self._artifacts = artifacts_pb2_grpc.ArtifactsStub(self._channel)  # type: ignore[no-untyped-call]
        self._credential = ""

    def set_credential(self, credential: str) -> None:
        """Authenticate with this credential from now on."""
        self._credential = credential

    def enroll(self, request: control_pb2.EnrollRequest, credential: str = "") -> control_pb2.EnrollResponse:
        """Ask to have this credential; empty leaves it to the server. Raises grpc.RpcError, as the other calls."""
        metadata = _bearer(credential) if credential else None
        response: control_pb2.EnrollResponse = self._control.Enroll(request, timeout=CALL_TIMEOUT_S, metadata=metadata)
        return response

    def sync(self, request: control_pb2.SyncRequest) -> grpc.Future[control_pb2.SyncResponse]:
        """Start a long poll; the future may be cancelled."""
        timeout_s = request.wait_s + SYNC_GRACE_S
        call: grpc.Future[control_pb2.SyncResponse] = self._control.Sync.future(
            request, timeout=timeout_s, metadata=self._metadata()
        )
        return call

    def renew(self, request: control_pb2.RenewRequest, timeout_s: float) -> control_pb2.RenewResponse:
        """Keep the named leases alive; raises grpc.RpcError after `timeout_s` at the latest."""
        response: control_pb2.RenewResponse = self._control.Renew(request, timeout=timeout_s, metadata=self._metadata())
        return response

    def confirm(self, request: control_pb2.RenewRequest, timeout_s: float) -> grpc.Future[control_pb2.RenewResponse]:
        """Start a renewal; the future raises grpc.RpcError after `timeout_s` at the latest."""
        call: grpc.Future[control_pb2.RenewResponse] = self._control.Renew.future(
            request, timeout=timeout_s, metadata=self._metadata()
        )
        return call

    def put_result(self, request: control_pb2.PutResultRequest) -> control_pb2.PutResultResponse:
        """Hand in a spooled result; repeating it does no harm."""
        response: control_pb2.PutResultResponse = self._control.PutResult(
            request, timeout=CALL_TIMEOUT_S, metadata=self._metadata()
        )
        return response

    def fetch(self, sha256: str, offset: int, token: StopToken) -> Iterator[tuple[int, bytes]]:
        """Chunks of an artifact from an offset on.

        Raises:
            FetchInterruptedError: the stream broke; go on from the offset reached.
            JobFailedError: FETCH_FAILED; the server does not have it, or does not give it to this agent.
            JobStoppedError: the token was set.
        """
        request = artifacts_pb2.FetchRequest(sha256=sha256, offset_bytes=offset)
        call = self._artifacts.Fetch(request, timeout=FETCH_IDLE_TIMEOUT_S, metadata=self._metadata())
        with token.interrupting(call.cancel), _fetch_errors(sha256, token):
            for chunk in call:
                yield chunk.offset_bytes, chunk.data

    def close(self) -> None:
        """End the channel; calls that run are cancelled."""
        self._channel.close()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return _bearer(self._credential)


def _bearer(credential: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {credential}"),)


@contextlib.contextmanager
def _fetch_errors(sha256: str, token: StopToken) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        token.check()
        lasting = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE)
        if status(error) in lasting or trouble(error) is not Trouble.RETRY:
            raise JobFailedError(
                FailureType.FETCH_FAILED, f"artifact {sha256[:12]} cannot be had: {describe(error)}"
            ) from error
        raise FetchInterruptedError(describe(error)) from error


def _channel(settings: LinkSettings) -> grpc.Channel:
    # Said outright: of itself gRPC takes a proxy from the environment for servers on this machine too.
    way = ("grpc.enable_http_proxy", 0) if settings.proxy is None else ("grpc.http_proxy", settings.proxy.url)
    options = (*CHANNEL_OPTIONS, way)
    if settings.insecure:
        return grpc.insecure_channel(settings.server, options=options)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=settings.ca_path.read_bytes() if settings.ca_path else None,
        private_key=settings.key_path.read_bytes() if settings.key_path else None,
        certificate_chain=settings.certificate_path.read_bytes() if settings.certificate_path else None,
    )
    return grpc.secure_channel(settings.server, credentials, options=options)
