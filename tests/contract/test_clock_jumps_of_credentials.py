"""The clock that tokens and sessions live by is stepped by an hour: who has hours left stays in, who has ended stays
out, and a step back lengthens nothing by more than itself.

As in `test_clock_jumps.py`, a clock that jumps is a row whose times jump the other way.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from server.access.page_session import PageSessionSettings
from server.access.sessions import Sessions
from server.access.token import Role
from server.access.tokens import Tokens
from server.core.errors import NotAuthenticatedError
from tests.support.worlds.databases import TestDatabase

HOUR_US = 3_600_000_000
TIMES = {
    "api_tokens": ("created_at", "expires_at", "revoked_at", "last_used_at"),
    "sessions": ("created_at", "expires_at", "revoked_at"),
}


class Doors:
    """Tokens and sessions of half an hour and of a day, over one database."""

    def __init__(self, database: TestDatabase) -> None:
        self._database = database
        tokens, now = Tokens(database.uow), database.uow.read(lambda tx: tx.now())
        _, self.short_token = tokens.create("short", [Role.VIEWER], now + timedelta(minutes=30))
        _, self.long_token = tokens.create("long", [Role.VIEWER], now + timedelta(days=1))
        _, lasting = tokens.create("lasting", [Role.VIEWER])
        self.short_session = self._sessions(1800.0).start(lasting)
        self.long_session = self._sessions(86_400.0).start(lasting)

    def step_clock(self, hours: int) -> None:
        for table, columns in TIMES.items():
            for column in columns:
                self._database.execute(f"UPDATE {table} SET {column} = {column} - :step", step=hours * HOUR_US)

    def lets_in(self, secret: str) -> bool:
        """Whether a server that has just started takes it; sessions begin with ``nas_ses``."""
        tokens = Tokens(self._database.uow)
        try:
            if secret.startswith("nas_ses"):
                self._sessions(1800.0).authenticate(secret)
            else:
                tokens.authenticate(secret)
        except NotAuthenticatedError:
            return False
        return True

    def log_out(self) -> None:
        self._sessions(1800.0).end(self.long_session)

    def _sessions(self, idle_s: float) -> Sessions:
        return Sessions(self._database.uow, Tokens(self._database.uow), PageSessionSettings(idle_s=idle_s))


@pytest.fixture
def doors(database: TestDatabase) -> Doors:
    return Doors(database)


def test_a_step_forward_ends_what_had_less_than_the_step_left_and_nothing_else(doors: Doors) -> None:
    doors.step_clock(1)
    assert not doors.lets_in(doors.short_token)
    assert not doors.lets_in(doors.short_session)
    assert doors.lets_in(doors.long_token)
    assert doors.lets_in(doors.long_session)


def test_a_step_back_lengthens_nothing_by_more_than_itself(doors: Doors) -> None:
    doors.step_clock(-1)
    assert doors.lets_in(doors.short_token)
    doors.step_clock(2)  # an hour and a half were left at most
    assert not doors.lets_in(doors.short_token)
    assert not doors.lets_in(doors.short_session)
    assert doors.lets_in(doors.long_token)


@pytest.mark.parametrize("hours", [1, -1])
def test_who_logged_out_stays_out_over_a_step(doors: Doors, hours: int) -> None:
    doors.log_out()
    doors.step_clock(hours)
    assert not doors.lets_in(doors.long_session)
