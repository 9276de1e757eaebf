"""The way to the server: directly, or through an HTTP proxy that lets gRPC through with CONNECT.

gRPC looks at the environment itself and says nothing of it. The agent decides for it instead: from the same variables,
never for a server on this machine, and in the log.
"""

from __future__ import annotations

import base64
import logging
import socket
from collections.abc import Mapping
from urllib.parse import unquote

from device_agent.failures import AgentError
from hilnas.proxies import AUTO, OWN_VARIABLE, Proxy, ProxyError, ProxyVariables, is_loopback, proxy_for

_log = logging.getLogger(__name__)
VARIABLES = ProxyVariables(
    naming=(("grpc_proxy", "https_proxy", "http_proxy"),),
    excluding=("no_grpc_proxy", "no_proxy", "NO_PROXY"),
    schemes=("http",),
)
UNUSED = ("all_proxy", "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
"""Variables that other programs take a proxy from, and gRPC does not."""

DEFAULT_PORT = 80
_MAX_ANSWER_BYTES = 4096


class ProxyRefusalError(AgentError):
    """The proxy does not let this agent through to its server; the message says what it answered."""


def host_and_port(server: str) -> tuple[str, int] | None:
    """Host and port of a server; None for gRPC's other forms of a target, such as a socket's path."""
    host, colon, port = server.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        return None
    return host.strip("[]"), int(port)


def proxy_to(server: str, wanted: str, environment: Mapping[str, str]) -> Proxy | None:
    """Find the proxy to a server, None for none, and say in the log where there is one, or one that is not used.

    Args:
        server: HOST:PORT.
        wanted: as `--proxy` says: a URL, `none` or `auto`; empty: as the environment says.

    Raises:
        AgentError: what `--proxy` or HILNAS_PROXY says is no proxy for an agent.
    """
    where = host_and_port(server)
    if where is None or is_loopback(where[0]):
        return None
    try:
        proxy = proxy_for(where[0], VARIABLES, environment, wanted, "--proxy")
    except ProxyError as error:
        asked = wanted or environment.get(OWN_VARIABLE, "")
        if asked.strip() not in ("", AUTO):
            raise AgentError(str(error)) from error
        # As gRPC did: a board must not stay away because of a variable that is meant for other programs.
        _log.warning("%s; %s is tried directly", error, server)
        return None
    others = [name for name in UNUSED if environment.get(name)]
    if proxy is not None:
        _log.warning("%s is reached through %s; --proxy none goes without it", server, proxy)
    elif others and wanted in ("", AUTO) and environment.get(OWN_VARIABLE, AUTO) == AUTO:
        _log.info("%s names a proxy and is not used here: --proxy http://HOST:PORT would use one", others[0])
    return proxy


def connected(host: str, port: int, proxy: Proxy | None, timeout_s: float) -> socket.socket:
    """A connection to the server's port, through the proxy where there is one.

    Raises:
        ProxyRefusalError: the proxy is away, or lets nobody through to there.
        OSError: the server is away.
    """
    if proxy is None:
        return socket.create_connection((host, port), timeout_s)
    parts = proxy.parts
    try:
        opened = socket.create_connection((parts.hostname or "", parts.port or DEFAULT_PORT), timeout_s)
    except OSError as error:
        raise ProxyRefusalError(
            f"{proxy} cannot be reached ({error}): mend it, or go without it: --proxy none"
        ) from error
    try:
        name = f"[{host}]" if ":" in host else host
        lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}"]
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(secret.encode()).decode()}")
        opened.sendall("\r\n".join([*lines, "", ""]).encode())
        status = _status(opened)
    except OSError as error:
        opened.close()
        raise ProxyRefusalError(
            f"{proxy} does not answer ({error}): mend it, or go without it: --proxy none"
        ) from error
    if status.split()[1:2] != ["200"]:
        opened.close()
        raise ProxyRefusalError(
            f"{proxy} does not let this agent through to {name}:{port} ({status or 'no answer'}): have it allow "
            "CONNECT to there, or go without it: --proxy none"
        )
    return opened


def _status(opened: socket.socket) -> str:
    """The first line of the proxy's answer; the whole head is taken off the wire."""
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _MAX_ANSWER_BYTES:
        more = opened.recv(1)  # one at a time: what follows the head is the server's
        if not more:
            break
        answer += more
    return answer.partition(b"\r\n")[0].decode("ascii", "replace")
