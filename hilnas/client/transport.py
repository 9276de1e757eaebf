"""HTTP below the SDK: retries that are safe, idempotency keys, problems as errors."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import httpx2

from hilnas.client.errors import ProtocolError, ServerUnreachableError, problem_error
from nas_engine.domain.json_value import JsonValue

Params = Mapping[str, str | int | float | bool | Sequence[str] | None]
_RETRIED_STATUS = frozenset({429, 502, 503, 504})
_MAX_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again.

    Attributes:
        max_attempts: tries in all.
        base_s: longest wait before the second try; doubled per try, with full jitter.
        sleep: waits; replaced in tests.
    """

    max_attempts: int = 5
    base_s: float = 0.25
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int, retry_after: str | None) -> None:
        """Wait before the next try; a Retry-After in seconds is obeyed, up to 10 s."""
        if retry_after is not None and retry_after.isdecimal():
            self.sleep(min(float(retry_after), _MAX_WAIT_S))
        else:
            # Jitter against herds of clients; nothing reproducible depends on it.
            self.sleep(random.uniform(0, min(self.base_s * 2**attempt, _MAX_WAIT_S)))


class Transport:
    """One server, one token, one pool of connections. Thread-safe, as httpx2.Client is."""

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._retry = retry or RetryPolicy()
        self._http = httpx2.Client(base_url=base_url, headers=headers, timeout=timeout_s, transport=transport)

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
        for attempt in range(1, self._retry.max_attempts + 1):
            last = attempt == self._retry.max_attempts
            body = content() if content is not None else sent
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
                )
            except httpx2.TransportError as error:
                if last:
                    raise ServerUnreachableError(f"no answer from {self._http.base_url}: {error}") from error
                self._retry.wait(attempt, None)
                continue
            if last or response.status_code not in _RETRIED_STATUS:
                break
            self._retry.wait(attempt, response.headers.get("retry-after"))
        return _checked(response)

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], timeout_s: float, params: Params | None = None
    ) -> Iterator[httpx2.Response]:
        """An open response whose body is read as it comes.

        Raises:
            ProblemError: the server refused.
            ServerUnreachableError: no connection.
        """
        timeout = httpx2.Timeout(10.0, read=timeout_s)
        try:
            with self._http.stream(
                "GET", path, params=_clean(params), headers=dict(headers), timeout=timeout
            ) as response:
                if response.is_error:
                    response.read()
                yield _checked(response)
        except httpx2.TransportError as error:
            raise ServerUnreachableError(f"connection to {self._http.base_url} lost: {error}") from error

    def download(self, path: str) -> Iterator[bytes]:
        """The chunks of a binary resource."""
        with self.stream(path, {}, timeout_s=60.0) as response:
            yield from response.iter_bytes()

    def pause(self, attempt: int) -> None:
        """Wait as before the next try of a request."""
        self._retry.wait(attempt, None)


def _clean(params: Params | None) -> dict[str, str | int | float | bool | Sequence[str]]:
    return {name: value for name, value in (params or {}).items() if value is not None}


def _checked(response: httpx2.Response) -> httpx2.Response:
    if response.is_error:
        raise problem_error(response.status_code, _document(response))
    return response


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
