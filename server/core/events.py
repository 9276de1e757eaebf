"""Events: what happened to a search, supernet, network, study or device; the table, its store and its use cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from nas_engine.domain.json_value import JsonValue
from server.core.database.metadata import metadata
from server.core.database.rows import Rows
from server.core.database.statements import insert_row
from server.core.database.store import Store, where_given
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.database.types import EnumText, Id, Json, Timestamp
from server.core.database.wakeups import Topic, Wakeups
from server.core.event_type import EventType
from server.core.paging import Page, PageRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event about to be stored; its scope says who will want to see it."""

    type: EventType
    payload: Mapping[str, JsonValue] = field(default_factory=dict)
    search_id: str | None = None
    supernet_id: str | None = None
    network_id: str | None = None
    device_id: str | None = None
    study_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A stored event. Ids grow in the order of commits: who has seen id n has seen everything below n."""

    id: int
    type: EventType
    payload: Mapping[str, JsonValue]
    search_id: str | None
    supernet_id: str | None
    network_id: str | None
    device_id: str | None
    study_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Whose events; None does not filter."""

    search_id: str | None = None
    supernet_id: str | None = None
    network_id: str | None = None
    device_id: str | None = None
    study_id: str | None = None
    types: tuple[EventType, ...] = ()


MAX_EVENTS = 500


class Events:
    """Use cases of events."""

    def __init__(self, uow: UnitOfWork, wakeups: Wakeups) -> None:
        self._uow = uow
        self._wakeups = wakeups

    def after(self, event_id: int, query: EventQuery, limit: int = MAX_EVENTS) -> tuple[Event, ...]:
        """Events with a larger id, oldest first."""
        return self._uow.read(lambda tx: EventStore(tx).events_after(event_id, query, min(limit, MAX_EVENTS)))

    def wait_after(self, event_id: int, query: EventQuery, timeout_s: float) -> tuple[Event, ...]:
        """As `after`, but waits up to `timeout_s` for the first one. Blocks the calling thread."""
        token = self._wakeups.token(Topic.EVENTS)
        found = self.after(event_id, query)
        if found or timeout_s <= 0:
            return found
        self._wakeups.wait(Topic.EVENTS, token, timeout_s)
        return self.after(event_id, query)

    def page(self, query: EventQuery, page: PageRequest) -> Page[Event]:
        """List the events that a query matches, newest first."""
        return self._uow.read(lambda tx: EventStore(tx).page_of_events(query, page))

    def last_id(self) -> int:
        """The largest id; 0 without events."""
        return self._uow.read(lambda tx: EventStore(tx).last_event_id())

    def prune(self, keep: timedelta) -> int:
        """Delete events older than `keep`; returns how many."""

        def work(tx: Transaction) -> int:
            return EventStore(tx).prune_events(tx.now() - keep)

        return self._uow.write(work)


events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("type", EnumText(EventType), nullable=False),
    sa.Column("payload", Json, nullable=False),
    sa.Column("search_id", Id),
    sa.Column("supernet_id", Id),
    sa.Column("network_id", Id),
    sa.Column("device_id", Id),
    sa.Column("study_id", Id),
    sa.Column("created_at", Timestamp, nullable=False, index=True),
    sa.Index("ix_events_search_id_id", "search_id", "id"),
    sa.Index("ix_events_supernet_id_id", "supernet_id", "id"),
    sa.Index("ix_events_network_id_id", "network_id", "id"),
    sa.Index("ix_events_device_id_id", "device_id", "id"),
    sa.Index("ix_events_study_id_id", "study_id", "id"),
    sqlite_autoincrement=True,  # ids of pruned events are never given again
)


EVENTS = Rows(Event, events)
NEW_EVENTS = Rows(NewEvent, events, beside=("id", "created_at"))


# Keys of PostgreSQL advisory locks; any numbers that nothing else uses.
EVENT_LOCK = 7_316_001


class EventStore(Store):
    """The event log. New events wait in memory and get their ids at the end of the transaction."""

    def append_event(self, event: NewEvent) -> None:
        """Store an event when the transaction commits."""
        self._tx.before_commit(Topic.EVENTS, event, self._flush)

    def _flush(self, waiting: Sequence[NewEvent]) -> None:
        """Store what waits; the last thing before a commit, so that ids grow in the order of commits."""
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(EVENT_LOCK)))
        for event in waiting:
            insert_row(self._connection, events, NEW_EVENTS.row_of(event), clocked=("created_at",))

    def events_after(self, event_id: int, query: EventQuery, limit: int) -> tuple[Event, ...]:
        """Events with a larger id, oldest first."""
        statement = _filtered(query).where(events.c.id > event_id).order_by(events.c.id).limit(limit)
        return self._list(EVENTS, statement)

    def page_of_events(self, query: EventQuery, page: PageRequest) -> Page[Event]:
        """List the events that a query matches, newest first."""
        id_text = sa.cast(events.c.id, sa.String).label("id_text")
        statement = _filtered(query).add_columns(id_text)
        return self._page(EVENTS, statement, page, value_column=events.c.id, id_column=id_text, descending=True)

    def last_event_id(self) -> int:
        """The largest id; 0 without events."""
        return int(self._connection.execute(sa.select(sa.func.coalesce(sa.func.max(events.c.id), 0))).scalar_one())

    def prune_events(self, before: datetime) -> int:
        """Delete older ones; returns how many."""
        return int(self._connection.execute(sa.delete(events).where(events.c.created_at < before)).rowcount)


def _filtered(query: EventQuery) -> sa.Select[Any]:
    c = events.c
    wanted = {
        c.search_id: query.search_id,
        c.supernet_id: query.supernet_id,
        c.network_id: query.network_id,
        c.device_id: query.device_id,
        c.study_id: query.study_id,
        c.type: query.types,
    }
    return where_given(EVENTS.select(), wanted)
