"""HTTP below the SDK: retries that are safe, idempotency keys, problems as errors."""

from __future__ import annotations

import json
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import cast
from urllib.parse import urlsplit

import httpx2

from hilnas.client.errors import ProtocolError, ProxySettingsError, ServerUnreachableError, problem_error
from hilnas.proxies import OWN_VARIABLE, Proxy, ProxyError, ProxyVariables, proxy_for
from nas_engine.domain.json_value import JsonValue

Params = Mapping[str, str | int | float | bool | Sequence[str] | None]
_RETRIED_STATUS = frozenset({429, 502, 503, 504})
_MAX_WAIT_S = 10.0
_CONNECT_S = 10.0
_LEAST_S = 0.1
WITHOUT_PROXY = f"{OWN_VARIABLE}=none goes without it"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again.

    Attributes:
        max_attempts: tries in all.
        base_s: longest wait before the second try; doubled per try, with full jitter.
        first_s: longest that is spent on reaching a server that has not answered yet: more likely than that it is just
            being started, the address is wrong, and people wait.
        sleep: waits; replaced in tests.
    """

    max_attempts: int = 5
    base_s: float = 0.25
    first_s: float = 1.5
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int, retry_after: str | None, most_s: float = _MAX_WAIT_S) -> None:
        """Wait before the next try, no longer than `most_s`; a Retry-After in seconds is obeyed, up to 10 s."""
        if retry_after is not None and retry_after.isdecimal():
            self.sleep(min(float(retry_after), _MAX_WAIT_S))
        else:
            # Jitter against herds of clients; nothing reproducible depends on it.
            self.sleep(min(random.uniform(0, min(self.base_s * 2**attempt, _MAX_WAIT_S)), most_s))


class Transport:
    """One server, one token, one pool of connections. Thread-safe, as httpx2.Client is.

    Args:
        timeout_s: of one attempt of one request.
        transport: replaces the network in tests.
        found: where the address was found, for the error that says that nothing answers there.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        transport: httpx2.BaseTransport | None = None,
        found: str = "",
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._retry = retry or RetryPolicy()
        self._timeout_s = timeout_s
        self._found = found
        self.has_answered = False
        self._proxy = _proxy_to(base_url) if transport is None else None
        # A transport of our own: of itself httpx2 takes a proxy from the environment for servers on this machine too.
        way = transport or httpx2.HTTPTransport(proxy=None if self._proxy is None else self._proxy.url)
        self._http = httpx2.Client(base_url=base_url, headers=headers, timeout=timeout_s, transport=way)

    def close(self) -> None:
        """Close the connections to the server."""
        self._http.close()

    def get(self, path: str, params: Params | None = None) -> JsonValue:
        """A JSON document. Tried again on connection failures and on 429, 502, 503, 504."""
        return _json(self.request("GET", path, params=params))

    def post(self, path: str, body: JsonValue = None, *, idempotency_key: str | None = None) -> JsonValue:
        """The JSON answer to a POST. Tried again like a GET: the key keeps the effect from happening twice."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return _json(self.request("POST", path, json_body=body, headers=headers))

    def delete(self, path: str) -> None:
        """Delete the resource at a path."""
        self.request("DELETE", path)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json_body: JsonValue = None,
        content: Callable[[], Iterator[bytes]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """One answered request.

        Args:
            content: makes the body's chunks anew for every try.

        Raises:
            ProblemError: the server refused.
            ServerUnreachableError: no answer, after every try.
        """
        sent = None if json_body is None else json.dumps(json_body, allow_nan=False).encode()
        started_s = time.monotonic()
        for attempt in range(1, self._retry.max_attempts + 1):
            last = attempt == self._retry.max_attempts
            body = content() if content is not None else sent
            left_s = self._retry.first_s - (time.monotonic() - started_s)
            try:
                response = self._http.request(
                    method,
                    path,
                    params=_clean(params),
                    content=body,
                    headers={
                        **({"Content-Type": "application/json"} if json_body is not None else {}),
                        **(headers or {}),
                    },
                    timeout=self._timeout(self._timeout_s, left_s),
                )
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                left_s = self._retry.first_s - (time.monotonic() - started_s)
                if last or not (self.has_answered or left_s > 0):
                    raise self._unreachable(error) from error
                self._retry.wait(attempt, None, _MAX_WAIT_S if self.has_answered else left_s)
                continue
            except httpx2.TransportError as error:
                if last:
                    raise self._unreachable(error) from error
                self._retry.wait(attempt, None)
                continue
            self.has_answered = True
            if last or response.status_code not in _RETRIED_STATUS:
                break
            self._retry.wait(attempt, response.headers.get("retry-after"))
        return self._checked(response)

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], timeout_s: float, params: Params | None = None
    ) -> Iterator[httpx2.Response]:
        """An open response whose body is read as it comes.

        Raises:
            ProblemError: the server refused.
            ServerUnreachableError: no connection.
        """
        timeout = self._timeout(timeout_s, self._retry.first_s)
        try:
            with self._http.stream(
                "GET", path, params=_clean(params), headers=dict(headers), timeout=timeout
            ) as response:
                self.has_answered = True
                if response.is_error:
                    response.read()
                yield self._checked(response)
        except httpx2.TransportError as error:
            if not self.has_answered:
                raise self._unreachable(error) from error
            raise ServerUnreachableError(f"connection to {self._server} lost: {error}") from error

    def download(self, path: str) -> Iterator[bytes]:
        """The chunks of a binary resource."""
        with self.stream(path, {}, timeout_s=60.0) as response:
            yield from response.iter_bytes()

    def pause(self, attempt: int) -> None:
        """Wait as before the next try of a request."""
        self._retry.wait(attempt, None)

    def _timeout(self, read_s: float, first_s: float) -> httpx2.Timeout:
        """Timeouts of an attempt: short ones for the way to a server that has not answered yet."""
        connect_s = min(_CONNECT_S, read_s)
        return httpx2.Timeout(read_s, connect=connect_s if self.has_answered else max(_LEAST_S, min(first_s, connect_s)))

    def _unreachable(self, error: httpx2.TransportError) -> ServerUnreachableError:
        found = f" ({self._found})" if self._found else ""
        why = str(error) or "it cannot be reached in time"
        return ServerUnreachableError(f"no answer from {self._server}{found}: {why}")

    @property
    def _server(self) -> str:
        """The server, and what stands before it, as errors name them."""
        server = str(self._http.base_url)
        return server if self._proxy is None else f"{server} through {self._proxy}; {WITHOUT_PROXY}"

    def _checked(self, response: httpx2.Response) -> httpx2.Response:
        if not response.is_error:
            return response
        document = _document(response)
        if not document and self._proxy is not None:  # our servers say why
            raise ServerUnreachableError(f"HTTP status {response.status_code} from {self._server}")
        raise problem_error(response.status_code, document)


def _proxy_to(base_url: str) -> Proxy | None:
    """Find the proxy through which a server is reached. Raises ProxySettingsError."""
    parts = urlsplit(base_url)
    scheme = "https_proxy" if parts.scheme == "https" else "http_proxy"
    variables = ProxyVariables(
        naming=((scheme, scheme.upper()), ("all_proxy", "ALL_PROXY")),
        schemes=("http", "https", *(("socks5", "socks5h") if find_spec("socksio") is not None else ())),
    )
    try:
        return proxy_for(parts.hostname or "localhost", variables, os.environ)
    except ProxyError as error:
        raise ProxySettingsError(str(error)) from error


def _clean(params: Params | None) -> dict[str, str | int | float | bool | Sequence[str]]:
    return {name: value for name, value in (params or {}).items() if value is not None}


def _document(response: httpx2.Response) -> Mapping[str, JsonValue]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return cast("Mapping[str, JsonValue]", document) if isinstance(document, dict) else {}


def _json(response: httpx2.Response) -> JsonValue:
    if response.status_code == 204 or not response.content:
        return None
    try:
        return cast(JsonValue, response.json())
    except ValueError as error:
        raise ProtocolError(f"{response.request.method} {response.request.url} did not answer JSON") from error
