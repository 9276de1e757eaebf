"""How long the server waits for what clients send: headers by a clock per connection, bodies by a clock per request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How slow clients may be.

    Attributes:
        header_s: from the connection, or a request's first byte, to the end of its headers.
        body_s: for a body, whatever its size.
        min_bytes_per_s: what comes of a body buys more time at this rate.
    """

    header_s: float = 15.0
    body_s: float = 30.0
    min_bytes_per_s: int = 16 << 10


_log = structlog.get_logger("hilnas.http")
_LOST: deque[Callable[[], None]] = deque()  # ends of connections that are not yet cleaned up after
_AT_A_TIME = 10
_PAUSE_S = 0.002


def _clean_up(loop: asyncio.AbstractEventLoop) -> None:
    """End what a few lost connections had going on, then let other requests have their turn."""
    for _ in range(min(_AT_A_TIME, len(_LOST))):
        end = _LOST.popleft()
        try:
            end()
        except Exception as error:
            _log.warning("a lost connection could not be cleaned up after", exc_info=error)
    if _LOST:
        loop.call_later(_PAUSE_S, _clean_up, loop)


class PatientProtocol(H11Protocol):
    """HTTP over one connection, which is closed when the headers of a request do not come in time.

    uvicorn itself waits without end for the rest of a request. h11, not httptools: it bounds the size of headers too.
    """

    patience = Patience()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._waiting: asyncio.TimerHandle | None = None
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came; wait on, unless it completes the headers of a request."""
        if self._idle:
            self._wait()
        super().data_received(data)
        if not self._idle:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, in its turn: a thousand that end at once are cleaned up a few at a time."""
        self._stop_waiting()
        if not _LOST:
            self.loop.call_soon(_clean_up, self.loop)
        _LOST.append(partial(super().connection_lost, exc))

    @property
    def _idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(self.patience.header_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if self._idle and not self.transport.is_closing():
            # Not close(): that would wait for a client that reads nothing.
            self.transport.abort()


def patient_protocol(patience: Patience) -> type[asyncio.Protocol]:
    """The protocol with other waiting times."""
    members: dict[str, Any] = {"patience": patience}
    return type("PatientProtocol", (PatientProtocol,), members)


class BodyPatienceGuard:
    """Answers 408 where a request's body does not come in time, so that nobody holds a request open by sending half."""

    def __init__(self, app: ASGIApp, patience: Patience) -> None:
        self._app = app
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, self._timed(receive), send)

    def _timed(self, receive: Receive) -> Receive:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._patience.body_s
        whole = False

        async def timed() -> Message:
            nonlocal deadline_s, whole
            if whole:  # what is waited for now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(deadline_s):
                    message = await receive()
            except TimeoutError as error:
                detail = f"the body did not come in {self._patience.body_s:g} s: send it without pauses"
                raise HTTPException(408, detail, headers={"Connection": "close"}) from error
            deadline_s += len(message.get("body", b"")) / self._patience.min_bytes_per_s
            whole = not message.get("more_body", False)
            return message

        return timed
