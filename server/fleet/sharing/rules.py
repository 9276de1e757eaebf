"""Rules of use of a board: who may use it, when it takes work of others than its owner, how much of a day they get."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from server.access.principal import Principal
from server.core.errors import InvalidValueError
from server.fleet.sharing.windows import TimeWindow, day_of, is_open, next_opening, zone_of

MAX_USERS = 64
MAX_WINDOWS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedUser:
    """A principal that may use a board; its name is kept with its id, since neither ever changes."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UseRules:
    """What a board's owner, or an admin, says of its use by others. Its owner's own work is never held up by them.

    Attributes:
        users: who may use it besides its owner; None: everybody.
        windows: when it takes work of others; none: at any time. Work that has begun goes on.
        time_zone: IANA name; of the windows, and of the day that the limit is for.
        max_hours_per_day: board time of each other owner in a calendar day, hours; None: no limit.
        max_share_per_day: the same as a fraction of that day, 0 to 1; at most one of the two is given.
    """

    users: tuple[AllowedUser, ...] | None = None
    windows: tuple[TimeWindow, ...] = ()
    time_zone: str = "UTC"
    max_hours_per_day: float | None = None
    max_share_per_day: float | None = None

    def __post_init__(self) -> None:
        if self.max_hours_per_day is not None and self.max_share_per_day is not None:
            raise InvalidValueError("the largest share of a day is given as hours and as a fraction: give one of them")

    @property
    def restricts(self) -> bool:
        """Whether they hold anybody up."""
        limits = (self.max_hours_per_day, self.max_share_per_day)
        return self.users is not None or bool(self.windows) or any(limit is not None for limit in limits)

    def names(self, owner: Principal | None) -> bool:
        """Whether an owner of work is among those who may use it at all; nobody's work is where everybody's is."""
        return self.users is None or (owner is not None and any(user.id == owner.id for user in self.users))

    def open_at(self, at: datetime) -> bool:
        """Whether it takes work of others at an instant; never by a time zone that this server does not know."""
        try:
            return is_open(self.windows, zone_of(self.time_zone), at)
        except InvalidValueError:
            return False

    def opens_at(self, at: datetime) -> datetime | None:
        """When it takes work of others next, as the clock on the wall shows it; None where that is not known."""
        try:
            zone = zone_of(self.time_zone)
        except InvalidValueError:
            return None
        opening = next_opening(self.windows, zone, at)
        return None if opening is None else opening.astimezone(zone)

    def limit_s(self, at: datetime) -> tuple[float, datetime, datetime] | None:
        """Seconds of board time that another owner gets in the day of an instant, its first instant and the first of
        the next; None where there is no limit.

        Raises:
            InvalidValueError: this server does not know the time zone.
        """
        if self.max_hours_per_day is None and self.max_share_per_day is None:
            return None
        start, end = day_of(zone_of(self.time_zone), at)
        if self.max_hours_per_day is not None:
            return self.max_hours_per_day * 3600.0, start, end
        return (self.max_share_per_day or 0.0) * (end - start).total_seconds(), start, end
