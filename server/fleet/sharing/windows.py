"""Time windows of a week, by the clock on the wall of a time zone: whether one is open, and when the next one opens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from server.core.errors import InvalidValueError

MINUTES_PER_DAY = 24 * 60
_DAY = timedelta(days=1)
_LOOKED_AHEAD = 16
"""Days looked at for an opening. A window of one day may lie in the hour that a change of the clocks leaves out, and
its next one is a week later."""


class Weekday(Enum):
    """A day of the week; in the order that `date.weekday` counts them."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


WEEKDAYS = tuple(Weekday)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeWindow:
    """A span of the day, on some days of the week.

    Attributes:
        days: on which it begins.
        start_min: minutes after midnight, 0 to 1439.
        end_min: likewise, 1 to 1440; where it is before `start_min` it lies in the day after.
    """

    days: tuple[Weekday, ...]
    start_min: int
    end_min: int

    def __post_init__(self) -> None:
        if not self.days:
            raise InvalidValueError("a time window without days: name at least one, or leave them out for every day")
        if not (0 <= self.start_min < MINUTES_PER_DAY and 0 <= self.end_min <= MINUTES_PER_DAY):
            raise InvalidValueError("a time window begins between 00:00 and 23:59 and ends between 00:00 and 24:00")
        if self.start_min == self.end_min:
            raise InvalidValueError(
                f"a time window from {clock_text(self.start_min)} to {clock_text(self.end_min)} has no length: a whole "
                "day is 00:00 to 24:00"
            )

    def covers(self, wall: datetime) -> bool:
        """Whether it is open at a time on the wall."""
        minute, day = wall.hour * 60 + wall.minute, wall.weekday()
        begins_today = WEEKDAYS[day] in self.days
        if self.start_min < self.end_min:
            return begins_today and self.start_min <= minute < self.end_min
        began_yesterday = WEEKDAYS[day - 1] in self.days
        return (begins_today and minute >= self.start_min) or (began_yesterday and minute < self.end_min)


def clock_text(minute: int) -> str:
    """A minute of the day as people write it, such as ``18:00``."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def zone_of(name: str) -> ZoneInfo:
    """The time zone of a name of the IANA database.

    Raises:
        InvalidValueError: this server knows none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidValueError(
            f"time zone {name[:80]!r} is not known here: use a name of the IANA database, such as Europe/Berlin or UTC"
        ) from error


def is_open(windows: Sequence[TimeWindow], zone: ZoneInfo, at: datetime) -> bool:
    """Whether one of the windows is open at an instant; without windows it always is."""
    if not windows:
        return True
    wall = at.astimezone(zone)
    return any(window.covers(wall) for window in windows)


def next_opening(windows: Sequence[TimeWindow], zone: ZoneInfo, at: datetime) -> datetime | None:
    """The first instant at or after `at` at which a window is open, in UTC; None where no day of the next two weeks
    has one, which takes a zone that leaves out its only hour again and again.
    """
    if is_open(windows, zone, at):
        return at.astimezone(UTC)
    first = at.astimezone(zone).date() - _DAY
    days = [first + number * _DAY for number in range(_LOOKED_AHEAD + 1)]
    instants = sorted({instant for day in days for instant in _turns(windows, zone, day)})
    return next((instant for instant in instants if instant > at and is_open(windows, zone, instant)), None)


def day_of(zone: ZoneInfo, at: datetime) -> tuple[datetime, datetime]:
    """The first instant of the calendar day, and the first of the next, in UTC: 23 to 25 hours apart."""
    day = at.astimezone(zone).date()
    return _midnight(zone, day), _midnight(zone, day + _DAY)


def _turns(windows: Sequence[TimeWindow], zone: ZoneInfo, day: date) -> Iterator[datetime]:
    """Every instant of a day at which a window can open: where one starts, and where the clocks are changed."""
    for window in windows:
        for fold in (0, 1):  # an hour that the clocks go through twice has its minutes twice
            clock = time(window.start_min // 60, window.start_min % 60, fold=fold)
            yield datetime.combine(day, clock, zone).astimezone(UTC)
    start, end = _midnight(zone, day), _midnight(zone, day + _DAY)
    if start.astimezone(zone).utcoffset() != end.astimezone(zone).utcoffset():
        yield _change(zone, start, end)


def _midnight(zone: ZoneInfo, day: date) -> datetime:
    """The first instant of a day; where the clocks leave out its first minutes, that of the change."""
    start = datetime.combine(day, time(), zone).astimezone(UTC)
    if start.astimezone(zone).date() != day or start.astimezone(zone).time() != time():
        return _change(zone, start - _DAY, start)
    return start


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The instant between two at which the clocks are changed, to the second."""
    offset = before.astimezone(zone).utcoffset()
    low, high = int(before.timestamp()), int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)
