"""Streams replay the event table, never lose a wake-up, and end when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from nas_engine.domain.json_value import JsonValue
from server.core.http.event_stream import EventHub, StreamLimits, Subject, stream_events
from server.core.http.problems import Problem

_FAST = StreamLimits(poll_s=0.005, ping_s=5.0, max_stream_s=20.0, max_per_token=2)


@dataclass(frozen=True)
class _Event:
    id: int
    type: str = "state"
    data: JsonValue = None


@dataclass
class _Table:
    """An event table in memory."""

    events: list[_Event] = field(default_factory=list)
    ended: bool = False
    reads: int = 0

    def add(self, *ids: int) -> None:
        self.events += [_Event(id_, data={"n": id_}) for id_ in ids]

    def latest(self) -> int:
        return self.events[-1].id if self.events else 0

    def read(self, after_id: int, limit: int) -> Sequence[_Event]:
        self.reads += 1
        return [event for event in self.events if event.id > after_id][:limit]

    @property
    def subject(self) -> Subject:
        return Subject(read=self.read, ended=lambda: self.ended)


async def _ids(stream: AsyncIterator[bytes], count: int | None = None) -> list[int]:
    found: list[int] = []
    async for chunk in stream:
        found += [int(line[4:]) for line in chunk.decode().splitlines() if line.startswith("id: ")]
        if count is not None and len(found) >= count:
            break
    return found


def test_an_ended_subject_is_replayed_and_the_stream_ends() -> None:
    async def scenario() -> list[int]:
        table = _Table(ended=True)
        table.add(*range(1, 1001))
        return await _ids(stream_events(EventHub(table.latest, _FAST), table.subject, 0, "me"))

    assert asyncio.run(scenario()) == list(range(1, 1001))


def test_a_reconnecting_client_gets_what_came_after_its_last_event() -> None:
    async def scenario() -> list[int]:
        table = _Table(ended=True)
        table.add(1, 2, 5, 9)
        return await _ids(stream_events(EventHub(table.latest, _FAST), table.subject, 2, "me"))

    assert asyncio.run(scenario()) == [5, 9]


def test_events_are_sent_as_they_are_written() -> None:
    async def scenario() -> list[int]:
        table = _Table()
        hub = EventHub(table.latest, _FAST)
        watcher = asyncio.create_task(hub.run())
        first = asyncio.create_task(_ids(stream_events(hub, table.subject, 0, "me")))
        second = asyncio.create_task(_ids(stream_events(hub, table.subject, 0, "you")))
        for id_ in range(1, 6):
            await asyncio.sleep(0.02)
            table.add(id_)
        table.ended = True
        table.add(6)
        found = await asyncio.wait_for(asyncio.gather(first, second), 10)
        hub.stop()
        await watcher
        assert found[0] == found[1]
        return found[0]

    assert asyncio.run(scenario()) == [1, 2, 3, 4, 5, 6]


def test_news_between_reading_and_waiting_are_not_missed() -> None:
    async def scenario() -> bool:
        table = _Table()
        hub = EventHub(table.latest, _FAST)
        watcher = asyncio.create_task(hub.run())
        other = asyncio.create_task(hub.wait_for_news(hub.version, 5))
        before = hub.version
        table.add(1)
        await other
        heard = await hub.wait_for_news(before, 5)
        hub.stop()
        await watcher
        return heard

    assert asyncio.run(scenario())


def test_a_stopping_server_ends_waiting_streams_at_once() -> None:
    async def scenario() -> list[int]:
        table = _Table()
        table.add(1)
        hub = EventHub(table.latest, _FAST)
        watcher = asyncio.create_task(hub.run())
        stream = asyncio.create_task(_ids(stream_events(hub, table.subject, 0, "me")))
        while not table.reads:
            await asyncio.sleep(0.001)
        hub.stop()
        found = await asyncio.wait_for(stream, 2)
        await watcher
        return found

    assert asyncio.run(scenario()) == [1]


def test_silence_is_filled_with_pings() -> None:
    async def scenario() -> list[bytes]:
        table = _Table()
        hub = EventHub(table.latest, StreamLimits(ping_s=0.01))
        chunks: list[bytes] = []
        async for chunk in stream_events(hub, table.subject, 0, "me"):
            chunks.append(chunk)
            if len(chunks) == 3:
                break
        return chunks

    assert asyncio.run(scenario())[1:] == [b": ping\n\n", b": ping\n\n"]


def test_a_stream_ends_after_its_longest_time_so_that_tokens_are_checked_again() -> None:
    async def scenario() -> list[int]:
        table = _Table()
        table.add(1)
        hub = EventHub(table.latest, StreamLimits(ping_s=0.01, max_stream_s=0.03))
        return await _ids(stream_events(hub, table.subject, 0, "me"))

    assert asyncio.run(scenario()) == [1]


def test_one_token_holds_only_so_many_streams() -> None:
    hub = EventHub(lambda: 0, _FAST)
    with hub.slot("me"), hub.slot("me"):
        hub.check_slot("you")
        with pytest.raises(Problem) as caught:
            hub.check_slot("me")
    assert caught.value.type.slug == "too-many-streams"
    hub.check_slot("me")


@pytest.mark.parametrize(("credential", "goes_on"), [("", True), ("tok_1", False)])
def test_only_what_was_shown_can_end_a_stream(credential: str, goes_on: bool) -> None:
    async def scenario() -> bool:
        table, asked = _Table(), asyncio.Event()

        def all_ended(credentials: frozenset[str]) -> frozenset[str]:
            loop.call_soon_threadsafe(asked.set)
            return credentials

        loop = asyncio.get_running_loop()
        hub = EventHub(table.latest, StreamLimits(poll_s=0.005, check_s=0.0), all_ended)
        watcher = asyncio.create_task(hub.run())
        stream = asyncio.create_task(_ids(stream_events(hub, table.subject, 0, "me", credential)))
        other = asyncio.create_task(_ids(stream_events(hub, table.subject, 0, "you", "tok_2")))
        await asked.wait()
        await other
        over = hub.is_over(credential)
        hub.stop()
        await asyncio.gather(watcher, stream)
        return not over

    assert asyncio.run(scenario()) is goes_on
