"""The event log as a use case: replay from an id, then wait for more."""

from __future__ import annotations

from datetime import timedelta

from server.service.paging import Page, PageRequest
from server.service.ports.unit_of_work import Topic, Transaction, UnitOfWork, Wakeups
from server.service.values.event import Event, EventQuery

MAX_EVENTS = 500


class Events:
    """Use cases of events."""

    def __init__(self, uow: UnitOfWork, wakeups: Wakeups) -> None:
        self._uow = uow
        self._wakeups = wakeups

    def after(self, event_id: int, query: EventQuery, limit: int = MAX_EVENTS) -> tuple[Event, ...]:
        """Events with a larger id, oldest first."""
        return self._uow.read(lambda tx: tx.events.after(event_id, query, min(limit, MAX_EVENTS)))

    def wait_after(self, event_id: int, query: EventQuery, timeout_s: float) -> tuple[Event, ...]:
        """As `after`, but waits up to `timeout_s` for the first one. Blocks the calling thread."""
        token = self._wakeups.token(Topic.EVENTS)
        found = self.after(event_id, query)
        if found or timeout_s <= 0:
            return found
        self._wakeups.wait(Topic.EVENTS, token, timeout_s)
        return self.after(event_id, query)

    def page(self, query: EventQuery, page: PageRequest) -> Page[Event]:
        """List, newest first."""
        return self._uow.read(lambda tx: tx.events.page(query, page))

    def last_id(self) -> int:
        """The largest id; 0 without events."""
        return self._uow.read(lambda tx: tx.events.last_id())

    def prune(self, keep: timedelta) -> int:
        """Delete events older than `keep`; returns how many."""

        def work(tx: Transaction) -> int:
            return tx.events.prune(tx.now() - keep)

        return self._uow.write(work)
