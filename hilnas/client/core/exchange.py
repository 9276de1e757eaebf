"""The client's side of HTTP, as steps: retries that are safe, idempotency keys, problems as errors."""

from __future__ import annotations

import json
import math
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import httpx2

from hilnas.client.core.steps import Call, NextChunk, NextLine, Open, Params, Pause, Send
from hilnas.client.errors import AuthenticationError, HilnasError, ProtocolError, ServerUnreachableError, problem_error
from nas_engine.domain.json_value import JsonValue

_RETRIED_STATUS = frozenset({429, 502, 503, 504})
_MAX_WAIT_S = 10.0
_CONNECT_S = 10.0
_LEAST_S = 0.5  # for the way to a server, however little patience there is with one that does not answer
_FIRST_S = 1.0
_TOKEN_HELP = (
    "pass hilnas.connect(token='nas_...') or set HILNAS_TOKEN; on the server's own machine, set HILNAS_HOME to the "
    "server's home folder"
)


def _first_s() -> float:
    text = os.environ.get("HILNAS_CONNECT_S") or str(_FIRST_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise HilnasError(f"HILNAS_CONNECT_S is {text!r}: give seconds, 0 or more")
    return seconds


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to try again.

    Attributes:
        max_attempts: tries in all.
        base_s: longest wait before the second try; doubled per try, with full jitter.
        first_s: longest that is spent on reaching a server that has not answered yet: more likely than that it is just
            being started, the address is wrong, and people wait; of itself ``HILNAS_CONNECT_S``, else 1 s.
        sleep: waits, where calls block; replaced in tests.
    """

    max_attempts: int = 5
    base_s: float = 0.25
    first_s: float = field(default_factory=_first_s)
    sleep: Callable[[float], None] = time.sleep

    def wait_s(self, attempt: int, retry_after: str | None, most_s: float = _MAX_WAIT_S) -> float:
        """Seconds before the next try, no more than `most_s`; a Retry-After in seconds is obeyed, up to 10 s."""
        if retry_after is not None and retry_after.isdecimal():
            return min(float(retry_after), _MAX_WAIT_S)
        # Jitter against herds of clients; nothing reproducible depends on it.
        return min(random.uniform(0, min(self.base_s * 2**attempt, _MAX_WAIT_S)), most_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The server as errors name it.

    Attributes:
        name: its address, and what stands before it.
        found: where the address was found; empty where that is not known.
        token_from: where the token was found; None where there is none.
        has_proxy: whether an answer without a document may be a proxy's.
    """

    name: str
    found: str = ""
    token_from: str | None = None
    has_proxy: bool = False


class Exchange:
    """Requests to one server, step by step.

    Attributes:
        has_answered: whether it ever did.
    """

    def __init__(self, peer: Peer, retry: RetryPolicy, timeout_s: float) -> None:
        self.has_answered = False
        self._peer, self._retry, self._timeout_s = peer, retry, timeout_s

    def get(self, path: str, params: Params | None = None) -> Call[JsonValue]:
        """A JSON document. Tried again on connection failures and on 429, 502, 503, 504."""
        return _json((yield from self.request("GET", path, params=params)))

    def post(
        self,
        path: str,
        body: JsonValue = None,
        *,
        params: Params | None = None,
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Call[JsonValue]:
        """The JSON answer to a POST. Tried again like a GET: the key keeps the effect from happening twice.

        Args:
            version: that the resource must have still; None: whatever it has.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        if version is not None:
            headers["If-Match"] = f'"v{version}"'
        return _json((yield from self.request("POST", path, params=params, json_body=body, headers=headers)))

    def put(self, path: str, body: JsonValue) -> Call[JsonValue]:
        """The JSON answer to a PUT. Tried again like a GET: twice the same is as good as once."""
        return _json((yield from self.request("PUT", path, json_body=body)))

    def delete(self, path: str) -> Call[None]:
        """Delete the resource at a path."""
        yield from self.request("DELETE", path)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json_body: JsonValue = None,
        content: Callable[[], Iterator[bytes]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Call[httpx2.Response]:
        """One answered request.

        Args:
            content: makes the body's chunks anew for every try.

        Raises:
            ProblemError: the server refused.
            ServerUnreachableError: no answer, after every try.
        """
        sent = None if json_body is None else json.dumps(json_body, allow_nan=False).encode()
        json_type = {"Content-Type": "application/json"} if json_body is not None else {}
        started_s = time.monotonic()
        for attempt in range(1, self._retry.max_attempts + 1):
            last = attempt == self._retry.max_attempts
            left_s = self._retry.first_s - (time.monotonic() - started_s)
            wanted = Send(
                method=method,
                path=path,
                params=_clean(params),
                headers={**json_type, **(headers or {})},
                content=content if content is not None else sent,
                timeout=self._timeout(self._timeout_s, left_s),
            )
            try:
                response: httpx2.Response = yield wanted
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                left_s = self._retry.first_s - (time.monotonic() - started_s)
                if last or not (self.has_answered or left_s > 0):
                    raise self._unreachable(error) from error
                yield Pause(self._retry.wait_s(attempt, None, _MAX_WAIT_S if self.has_answered else left_s))
                continue
            except httpx2.TransportError as error:
                if last:
                    raise self._unreachable(error) from error
                yield Pause(self._retry.wait_s(attempt, None))
                continue
            self.has_answered = True
            if last or response.status_code not in _RETRIED_STATUS:
                break
            yield Pause(self._retry.wait_s(attempt, response.headers.get("retry-after")))
        return self._checked(response)

    def open(
        self, path: str, headers: Mapping[str, str], timeout_s: float, params: Params | None = None
    ) -> Call[httpx2.Response]:
        """An answer whose body is read as it comes, with `line` or `chunk`.

        Raises:
            ProblemError: the server refused.
            ServerUnreachableError: no connection.
        """
        timeout = self._timeout(timeout_s, self._retry.first_s)
        try:
            response: httpx2.Response = yield Open(path=path, params=_clean(params), headers=headers, timeout=timeout)
        except httpx2.TransportError as error:
            if not self.has_answered:
                raise self._unreachable(error) from error
            raise self._lost(error) from error
        self.has_answered = True
        return self._checked(response)

    def line(self) -> Call[str | None]:
        """The next line of the open answer; None at its end. Raises ServerUnreachableError."""
        try:
            line: str | None = yield NextLine()
        except httpx2.TransportError as error:
            raise self._lost(error) from error
        return line

    def chunk(self) -> Call[bytes | None]:
        """The next bytes of the open answer; None at its end. Raises ServerUnreachableError."""
        try:
            chunk: bytes | None = yield NextChunk()
        except httpx2.TransportError as error:
            raise self._lost(error) from error
        return chunk

    def pause(self, attempt: int) -> Call[None]:
        """Wait as before the next try of a request."""
        yield Pause(self._retry.wait_s(attempt, None))

    def _timeout(self, read_s: float, first_s: float) -> httpx2.Timeout:
        """Timeouts of an attempt: short ones for the way to a server that has not answered yet."""
        connect_s = min(_CONNECT_S, read_s)
        return httpx2.Timeout(
            read_s, connect=connect_s if self.has_answered else max(_LEAST_S, min(first_s, connect_s))
        )

    def _unreachable(self, error: httpx2.TransportError) -> ServerUnreachableError:
        found = f" ({self._peer.found})" if self._peer.found else ""
        why = str(error) or "it cannot be reached in time"
        if isinstance(error, httpx2.RemoteProtocolError) and not self.has_answered:
            why = f"what listens there does not answer as a web server does ({why}): is it the boards' port (gRPC)?"
        return ServerUnreachableError(f"no answer from {self._peer.name}{found}: {why}")

    def _lost(self, error: httpx2.TransportError) -> ServerUnreachableError:
        return ServerUnreachableError(f"connection to {self._peer.name} lost: {error}")

    def _checked(self, response: httpx2.Response) -> httpx2.Response:
        if not response.is_error:
            return response
        document = _document(response)
        if not document and self._peer.has_proxy:  # our servers say why
            raise ServerUnreachableError(f"HTTP status {response.status_code} from {self._peer.name}")
        if not document:
            said = f"{self._peer.name} failed without saying why (HTTP status {response.status_code})"
            document = {"detail": f"{said}: is it a hilnas server, or something in front of one?"}
        error = problem_error(response.status_code, document)
        if isinstance(error, AuthenticationError):
            error.explain(self._token_trouble(error))
        raise error

    def _token_trouble(self, error: AuthenticationError) -> str:
        """What a missing or a refused token means to whoever writes Python."""
        if self._peer.token_from is None:
            return f"{self._peer.name} wants a token, and none was found: {_TOKEN_HELP}"
        return f"{self._peer.name} refused the token ({self._peer.token_from}): {error.detail}; {_TOKEN_HELP}"


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
