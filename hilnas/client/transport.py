"""The blocking transport: carries out the steps of calls, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from hilnas.client.core.exchange import Exchange, Peer, RetryPolicy
from hilnas.client.core.steps import Call, Item, Items, NextChunk, NextLine, Open, Params, Pause, Send, Step, Work
from hilnas.client.errors import ProxySettingsError
from hilnas.proxies import OWN_VARIABLE, Proxy, ProxyError, ProxyVariables, proxy_for
from nas_engine.domain.json_value import JsonValue

__all__ = ["Params", "RetryPolicy", "Transport", "authorization", "peer_of", "proxy_to"]
T = TypeVar("T")
WITHOUT_PROXY = f"{OWN_VARIABLE}=none goes without it"


class Transport:
    """One server, one token, one pool of connections. Thread-safe, as httpx2.Client is.

    Args:
        timeout_s: of one attempt of one request.
        transport: replaces the network in tests.
        found: where the address was found, for the error that says that nothing answers there.
        token_from: where the token was found, for the error that says that it is refused.
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
        token_from: str = "as given",
    ) -> None:
        self._retry = retry or RetryPolicy()
        proxy = proxy_to(base_url) if transport is None else None
        # A transport of our own: of itself httpx2 takes a proxy from the environment for servers on this machine too.
        # Without TLS on the way no certificates are read, which takes as long as a request; nothing is redirected.
        is_plain = proxy is None and urlsplit(base_url).scheme == "http"
        way = transport or httpx2.HTTPTransport(proxy=None if proxy is None else proxy.url, verify=not is_plain)
        headers = authorization(token)
        self._http = httpx2.Client(base_url=base_url, headers=headers, timeout=timeout_s, transport=way)
        peer = peer_of(self._http.base_url, proxy, found, token_from if token else None)
        self.exchange = Exchange(peer, self._retry, timeout_s)

    def close(self) -> None:
        """Close the connections to the server."""
        self._http.close()

    def run(self, call: Call[T]) -> T:
        """Carry a call out, and return what it ends with."""
        carried = self._carry(call)
        try:
            next(carried)
        except StopIteration as stop:
            value: T = stop.value
            return value
        raise TypeError("a call that gives items was run for one value: iterate over it")

    def iterate(self, items: Items[T]) -> Iterator[T]:
        """Carry a call out as far as it is consumed."""
        return self._carry(items)

    def get(self, path: str, params: Params | None = None) -> JsonValue:
        """A JSON document; see `Exchange.get`."""
        return self.run(self.exchange.get(path, params))

    def post(self, path: str, body: JsonValue = None, *, idempotency_key: str | None = None) -> JsonValue:
        """The JSON answer to a POST; see `Exchange.post`."""
        return self.run(self.exchange.post(path, body, idempotency_key=idempotency_key))

    def delete(self, path: str) -> None:
        """Delete the resource at a path."""
        self.run(self.exchange.delete(path))

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
        """One answered request; see `Exchange.request`."""
        wanted = self.exchange.request(
            method, path, params=params, json_body=json_body, content=content, headers=headers
        )
        return self.run(wanted)

    def _carry(self, call: Generator[Any, Any, T]) -> Generator[Any, None, T]:
        """Yield a call's items, carry out its steps, return what it ends with."""
        with ExitStack() as opened:
            answer = _OpenAnswer(self._http, opened)
            outcome: Any = None
            failure: httpx2.TransportError | None = None
            try:
                while True:  # ends with the call
                    step = call.send(outcome) if failure is None else call.throw(failure)
                    outcome, failure = None, None
                    if isinstance(step, Item):
                        yield step.value
                        continue
                    try:
                        outcome = self._do(step, answer)
                    except httpx2.TransportError as error:
                        failure = error
            except StopIteration as stop:
                value: T = stop.value
                return value
            finally:
                call.close()

    def _do(self, step: Step, answer: _OpenAnswer) -> Any:
        match step:
            case Send():
                content = step.content() if callable(step.content) else step.content
                return self._http.request(
                    step.method,
                    step.path,
                    params=step.params,
                    headers=step.headers,
                    content=content,
                    timeout=step.timeout,
                )
            case Open():
                return answer.open(step)
            case NextLine():
                return next(answer.lines, None)
            case NextChunk():
                return next(answer.chunks, None)
            case Pause():
                return self._retry.sleep(step.seconds)
            case Work():
                return step.do()


class _OpenAnswer:
    """The answer that a call reads piece by piece."""

    def __init__(self, http: httpx2.Client, opened: ExitStack) -> None:
        self._http, self._opened = http, opened
        self.lines: Iterator[str] = iter(())
        self.chunks: Iterator[bytes] = iter(())

    def open(self, step: Open) -> httpx2.Response:
        """Send the request; what was open before is closed."""
        self._opened.close()
        response = self._opened.enter_context(
            self._http.stream("GET", step.path, params=step.params, headers=step.headers, timeout=step.timeout)
        )
        if response.is_error:
            response.read()
        else:
            self.lines, self.chunks = response.iter_lines(), response.iter_bytes()
        return response


def authorization(token: str | None) -> dict[str, str]:
    """The header that a token is sent in."""
    return {"Authorization": f"Bearer {token}"} if token else {}


def peer_of(base_url: httpx2.URL, proxy: Proxy | None, found: str, token_from: str | None) -> Peer:
    """The server, and what stands before it, as errors name them."""
    name = str(base_url) if proxy is None else f"{base_url} through {proxy}; {WITHOUT_PROXY}"
    return Peer(name=name, found=found, token_from=token_from, has_proxy=proxy is not None)


def proxy_to(base_url: str) -> Proxy | None:
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
