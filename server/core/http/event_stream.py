"""Server-sent events with replay: every event comes from the durable event table, so a stream can be cut anywhere.

A client that reconnects with ``Last-Event-ID`` gets everything after it. Streams end when the server stops
(a stop signal, so that SIGTERM never waits for them), when their subject has ended and all is sent, when the token or
session that opened them is good no longer, or after `max_stream_s`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread
import structlog
from fastapi.sse import format_sse_event

from nas_engine.domain.json_value import JsonValue
from server.core.http.problem_types import TOO_MANY_STREAMS
from server.core.http.problems import Problem

T = TypeVar("T")
EVENT_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_BATCH = 200
_RECONNECT_MS = 2000
_PING = b": ping\n\n"
_READERS = 8  # threads that all streams share: a thousand that wake at once must not keep other requests waiting
_log = structlog.get_logger("hilnas.events")


class StreamEvent(Protocol):
    """An event as a stream sends it."""

    @property
    def id(self) -> int:
        """Row id: grows with every event."""

    @property
    def type(self) -> str:
        """Name that EventSource clients listen for."""

    @property
    def data(self) -> JsonValue:
        """Content of the event, sent as JSON."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How long and how many.

    Attributes:
        poll_s: how often news is looked for, once for all streams of this process.
        ping_s: silence after which a comment keeps proxies from closing the connection.
        check_s: how often the credentials of open streams are looked at, all at once.
        max_stream_s: a stream is closed after this long; clients reconnect by themselves.
        max_per_token: open streams per token; 0 for any number.
        setting: where an operator sets that.
    """

    poll_s: float = 0.25
    ping_s: float = 15.0
    check_s: float = 2.0
    max_stream_s: float = 900.0
    max_per_token: int = 16
    setting: str = ""


class EventHub:
    """Wakes the streams of this process when there may be new events, and ends them when the server stops.

    Args:
        change_count: grows whenever events were written, here or by another process; must not block.
        ended: which of some credentials (see `Caller.credential`) are good no longer; may block.
    """

    def __init__(
        self,
        change_count: Callable[[], int],
        limits: StreamLimits | None = None,
        ended: Callable[[frozenset[str]], frozenset[str]] = lambda _: frozenset(),
    ) -> None:
        self.limits = limits or StreamLimits()
        self._find_ended = ended
        self._credentials: Counter[str] = Counter()
        self._ended: frozenset[str] = frozenset()
        self._checked_s = 0.0
        self._readers: anyio.CapacityLimiter | None = None
        self._change_count = change_count
        self._known_count = -1
        self._loop: asyncio.AbstractEventLoop | None = None
        self._version = 0
        # Replaced whenever there is news. No Condition: a thousand waiters that are cancelled at once would each wait
        # for its lock, and anyio delivers a cancellation again in every turn of the loop until it is heeded.
        self._news = asyncio.Event()
        self._waiting = 0
        self._stopped = asyncio.Event()
        self._open: Counter[str] = Counter()

    @property
    def stopped(self) -> bool:
        """Whether the server is going down."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End every stream soon; callable from any thread and from signal handlers."""
        if self._loop is None or self._loop.is_closed():
            self._stopped.set()
        else:
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def run(self) -> None:
        """Watch for news until stopped."""
        self._loop = asyncio.get_running_loop()
        while not self.stopped:
            if self._waiting:
                self._look()
            if self._credentials and time.monotonic() - self._checked_s >= self.limits.check_s:
                await self._check_credentials()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self.limits.poll_s)
        self._tell()

    def _tell(self) -> None:
        """Wake every stream."""
        old, self._news = self._news, asyncio.Event()
        old.set()

    def _look(self) -> None:
        count = self._change_count()
        if count != self._known_count:
            self._known_count = count
            self._version += 1
            self._tell()

    async def _check_credentials(self) -> None:
        self._checked_s = time.monotonic()
        try:
            ended = await self.read(self._find_ended, frozenset(self._credentials))
        except Exception as error:  # a failing database ends no stream: the next look tells
            _log.warning("credentials of event streams could not be looked at", exc_info=error)
            return
        if ended != self._ended:
            self._ended = ended
            self._tell()

    def is_over(self, credential: str) -> bool:
        """Whether streams of this credential end now: the server stops, or it is good no longer."""
        return self.stopped or credential in self._ended

    async def read(self, function: Callable[..., T], *arguments: object) -> T:
        """Call what may block, in one of the few threads that streams have."""
        if self._readers is None:
            self._readers = anyio.CapacityLimiter(_READERS)
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._readers)

    @property
    def version(self) -> int:
        """Grows whenever news was seen; take it before reading, then wait for it to change."""
        return self._version

    async def wait_for_news(self, version: int, timeout_s: float, credential: str = "") -> bool:
        """Sleep until news came after `version` (True), the stream is over, or `timeout_s` has passed (False)."""
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                while self._version == version and not self.is_over(credential):
                    await self._news.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return not self.is_over(credential)

    def check_slot(self, owner: str) -> None:
        """Refuse one stream too many, before its response begins.

        Raises:
            Problem: too-many-streams.
        """
        if 0 < self.limits.max_per_token <= self._open[owner]:
            detail = f"{self.limits.max_per_token} event streams of this token are open already: close one"
            if self.limits.setting:
                detail += f", or let an admin raise {self.limits.setting}"
            raise Problem(TOO_MANY_STREAMS, detail, headers={"Retry-After": "5"})

    @contextmanager
    def slot(self, owner: str, credential: str = "") -> Iterator[None]:
        """Count one of the owner's streams as open, and look after its credential, if it has one."""
        shown = [credential] if credential else []  # without authentication nothing can end
        self._open[owner] += 1
        self._credentials.update(shown)
        try:
            yield
        finally:
            self._open[owner] -= 1
            self._credentials.subtract(shown)
            self._open, self._credentials = +self._open, +self._credentials


@dataclass(frozen=True, slots=True)
class Subject:
    """What a stream follows.

    Attributes:
        read: events after an id, oldest first, at most so many.
        ended: whether no further event will come.
    """

    read: Callable[[int, int], Sequence[StreamEvent]]
    ended: Callable[[], bool]


async def stream_events(
    hub: EventHub, subject: Subject, after_id: int, owner: str, credential: str = ""
) -> AsyncIterator[bytes]:
    """The bytes of one stream, from the event after `after_id` on, while the credential is good."""
    deadline_s = time.monotonic() + hub.limits.max_stream_s
    with hub.slot(owner, credential):
        yield f"retry: {_RECONNECT_MS}\n\n".encode()
        while not hub.is_over(credential) and time.monotonic() < deadline_s:
            version = hub.version
            # Asked before reading: an event written in between is then read in this round or the next.
            ended = await hub.read(subject.ended)
            events = await hub.read(subject.read, after_id, _BATCH)
            for event in events:
                yield encode_event(event)
                after_id = event.id
            if len(events) == _BATCH:
                continue
            if ended:
                return
            if not await hub.wait_for_news(version, hub.limits.ping_s, credential) and not hub.is_over(credential):
                yield _PING


def encode_event(event: StreamEvent) -> bytes:
    """One event on the wire."""
    return format_sse_event(data_str=json.dumps(event.data, allow_nan=False), event=event.type, id=str(event.id))
