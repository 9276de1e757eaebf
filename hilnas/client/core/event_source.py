"""A client of server-sent events that survives cut connections (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from hilnas.client.core.exchange import Exchange
from hilnas.client.core.steps import Item, Items
from hilnas.client.errors import ProtocolError, ServerUnreachableError
from hilnas.client.transport import Transport
from nas_engine.domain.json_value import JsonValue

_SILENCE_S = 45.0  # three pings of the server
_SHORT_S = 1.0  # a stream that brings nothing and ends sooner than this is not asked for again at once
_MAX_FAILURES = 8


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """One event of a stream.

    Attributes:
        id: continue after it with ``after_id``.
        type: e.g. ``candidate``.
        data: its content.
    """

    id: int
    type: str
    data: JsonValue


def follow(transport: Transport, path: str, after_id: int = 0) -> Iterator[ReceivedEvent]:
    """As `followed`, blocking."""
    return transport.iterate(followed(transport.exchange, path, after_id))


def followed(exchange: Exchange, path: str, after_id: int = 0) -> Items[ReceivedEvent]:
    """Every event after `after_id`, as it comes, until the subject has ended; reconnects where the wire breaks.

    Raises:
        ServerUnreachableError: the server stayed away.
        ProblemError: the server refuses the stream.
    """
    failures = 0
    while failures < _MAX_FAILURES:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after_id)}
        asked_s, asked_after = time.monotonic(), after_id
        try:
            response = yield from exchange.open(path, headers, _SILENCE_S)
            if response.status_code == 204:
                return
            parser = _Parser()
            while (line := (yield from exchange.line())) is not None:
                if (event := parser.read(line)) is not None:
                    failures = 0
                    after_id = event.id
                    yield Item(event)
            if after_id == asked_after and time.monotonic() - asked_s < _SHORT_S:
                yield from exchange.pause(1)
        except ServerUnreachableError:
            if not exchange.has_answered:
                raise
            failures += 1
            yield from exchange.pause(failures)
    raise ServerUnreachableError(f"the event stream {path} broke {failures} times in a row")


def parse(lines: Iterable[str]) -> Iterator[ReceivedEvent]:
    """The events in the lines of a stream; comments and incomplete last events are dropped."""
    parser = _Parser()
    for line in lines:
        if (event := parser.read(line)) is not None:
            yield event


class _Parser:
    """Reads a stream line by line."""

    def __init__(self) -> None:
        self._id_text, self._kind = "", "message"
        self._data: list[str] = []

    def read(self, line: str) -> ReceivedEvent | None:
        """Take a line in; the event that it ends, if it ends one."""
        if not line:
            data, kind = self._data, self._kind
            self._kind, self._data = "message", []
            return _event(self._id_text, kind, "\n".join(data)) if data else None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "id":
                self._id_text = value
            case "event":
                self._kind = value
            case "data":
                self._data.append(value)
            case _:
                pass
        return None


def _event(id_text: str, kind: str, data: str) -> ReceivedEvent:
    try:
        return ReceivedEvent(int(id_text), kind, cast(JsonValue, json.loads(data)))
    except ValueError as error:
        raise ProtocolError(f"event {kind!r} with id {id_text!r} cannot be read: {error}") from error
