"""The transport that awaits: carries out the steps of the same calls under asyncio or trio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpx2

from hilnas.client.core.exchange import Exchange, RetryPolicy
from hilnas.client.core.steps import Call, Item, Items, NextChunk, NextLine, Open, Pause, Send, Step, Work
from hilnas.client.transport import authorization, peer_of, proxy_to

T = TypeVar("T")


class AsyncTransport:
    """One server, one token, one pool of connections, for one event loop. Arguments as of `Transport`.

    Args:
        sleep: waits; replaced in tests.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        found: str = "",
        token_from: str = "as given",
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._sleep = sleep
        proxy = proxy_to(base_url) if transport is None else None
        way = transport or httpx2.AsyncHTTPTransport(proxy=None if proxy is None else proxy.url)
        headers = authorization(token)
        self._http = httpx2.AsyncClient(base_url=base_url, headers=headers, timeout=timeout_s, transport=way)
        peer = peer_of(self._http.base_url, proxy, found, token_from if token else None)
        self.exchange = Exchange(peer, retry or RetryPolicy(), timeout_s)

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._http.aclose()

    async def run(self, call: Call[T]) -> T:
        """Carry a call out, and return what it ends with."""
        ended = _Ended()
        async for _ in self._carry(call, ended):
            raise TypeError("a call that gives items was run for one value: iterate over it")
        value: T = ended.value
        return value

    def iterate(self, items: Items[T]) -> AsyncIterator[T]:
        """Carry a call out as far as it is consumed."""
        return self._carry(items, _Ended())

    async def _carry(self, call: Generator[Any, Any, Any], ended: _Ended) -> AsyncGenerator[Any, None]:
        """Yield a call's items, carry out its steps; what it ends with goes into `ended`."""
        async with AsyncExitStack() as opened:
            answer = _OpenAnswer(self._http, opened)
            outcome: Any = None
            failure: httpx2.TransportError | None = None
            try:
                while True:  # ends with the call
                    try:
                        step = call.send(outcome) if failure is None else call.throw(failure)
                    except StopIteration as stop:
                        ended.value = stop.value
                        return
                    outcome, failure = None, None
                    if isinstance(step, Item):
                        yield step.value
                        continue
                    try:
                        outcome = await self._do(step, answer)
                    except httpx2.TransportError as error:
                        failure = error
            finally:
                call.close()

    async def _do(self, step: Step, answer: _OpenAnswer) -> Any:
        match step:
            case Send():
                content = _awaited(step.content()) if callable(step.content) else step.content
                return await self._http.request(
                    step.method,
                    step.path,
                    params=step.params,
                    headers=step.headers,
                    content=content,
                    timeout=step.timeout,
                )
            case Open():
                return await answer.open(step)
            case NextLine():
                return await anext(answer.lines, None)
            case NextChunk():
                return await anext(answer.chunks, None)
            case Pause():
                return await self._sleep(step.seconds)
            case Work():
                return await anyio.to_thread.run_sync(step.do)


class _Ended:
    """What a call ended with."""

    value: Any = None


class _OpenAnswer:
    """The answer that a call reads piece by piece."""

    def __init__(self, http: httpx2.AsyncClient, opened: AsyncExitStack) -> None:
        self._http, self._opened = http, opened
        self.lines: AsyncIterator[str] = _nothing()
        self.chunks: AsyncIterator[bytes] = _nothing()

    async def open(self, step: Open) -> httpx2.Response:
        """Send the request; what was open before is closed."""
        await self._opened.aclose()
        response = await self._opened.enter_async_context(
            self._http.stream("GET", step.path, params=step.params, headers=step.headers, timeout=step.timeout)
        )
        if response.is_error:
            await response.aread()
        else:
            self.lines, self.chunks = response.aiter_lines(), response.aiter_bytes()
        return response


async def _nothing() -> AsyncIterator[Any]:
    return
    yield


async def _awaited(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Chunks of a file, read in a thread."""
    while (chunk := await anyio.to_thread.run_sync(next, chunks, None)) is not None:
        yield chunk
