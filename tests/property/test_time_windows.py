"""Time windows against a scan, minute by minute, of the clock on the wall; over changes of that clock too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.fleet.sharing.windows import WEEKDAYS, TimeWindow, Weekday, day_of, is_open, next_opening

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # its clocks change by half an hour
    "America/Havana",  # they change at midnight, and a day begins at one
    "Africa/Cairo",  # likewise
)
CHANGES = (
    datetime(2026, 3, 29, 1, tzinfo=UTC),  # Berlin, forward
    datetime(2026, 10, 25, 1, tzinfo=UTC),  # Berlin, back
    datetime(2026, 3, 8, 5, tzinfo=UTC),  # Havana and New York, forward
    datetime(2026, 11, 1, 5, tzinfo=UTC),  # Havana and New York, back
    datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe, back
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),  # Lord Howe, forward
    datetime(2026, 4, 23, 22, tzinfo=UTC),  # Cairo, forward
    datetime(2026, 10, 29, 21, tzinfo=UTC),  # Cairo, back
)
MINUTE = timedelta(minutes=1)

_minutes = st.one_of(st.integers(0, 1439), st.sampled_from([0, 1, 30, 60, 90, 120, 150, 180, 1380, 1410, 1439]))


@st.composite
def windows(draw: st.DrawFn) -> TimeWindow:
    start = draw(_minutes)
    end = draw(st.one_of(_minutes, st.just(1440)).filter(lambda end: end != start))
    days = draw(st.sets(st.sampled_from(WEEKDAYS), min_size=1))
    return TimeWindow(days=tuple(day for day in WEEKDAYS if day in days), start_min=start, end_min=end)


@st.composite
def moments(draw: st.DrawFn) -> datetime:
    near = draw(st.sampled_from(CHANGES))
    return near + timedelta(minutes=draw(st.integers(-2 * 1440, 1440)), seconds=draw(st.integers(0, 59)))


def minutes_of_the_week(window: TimeWindow) -> set[tuple[Weekday, int]]:
    """The day and the minute of everything that a window holds, counted on from its start."""
    length = (window.end_min - window.start_min) % 1440 or 1440
    found = set()
    for day in window.days:
        for minute in range(window.start_min, window.start_min + length):
            found.add((WEEKDAYS[(WEEKDAYS.index(day) + minute // 1440) % 7], minute % 1440))
    return found


def on_the_wall(at: datetime, zone: ZoneInfo) -> tuple[Weekday, int]:
    wall = at.astimezone(zone)
    return WEEKDAYS[wall.weekday()], wall.hour * 60 + wall.minute


@settings(max_examples=120, deadline=None)
@given(st.lists(windows(), min_size=1, max_size=3), st.sampled_from(ZONES), moments())
@example(
    [TimeWindow(days=(Weekday.SUN,), start_min=120, end_min=180)],  # the hour that the clocks leave out
    "Europe/Berlin",
    datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
)
@example(
    [TimeWindow(days=(Weekday.SUN,), start_min=125, end_min=130)],  # minutes that come twice
    "Europe/Berlin",
    datetime(2026, 10, 25, 0, 12, tzinfo=UTC),
)
def test_windows_are_what_a_scan_of_every_minute_finds(chosen: list[TimeWindow], zone_name: str, at: datetime) -> None:
    zone = ZoneInfo(zone_name)
    held = set().union(*(minutes_of_the_week(window) for window in chosen))
    assert is_open(chosen, zone, at) == (on_the_wall(at, zone) in held)
    opening = next_opening(chosen, zone, at)
    scanned = at if on_the_wall(at, zone) in held else at.replace(second=0) + MINUTE
    for _ in range(16 * 1440):
        if on_the_wall(scanned, zone) in held:
            break
        scanned += MINUTE
    assert opening == scanned


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ZONES), moments())
def test_a_day_is_every_minute_with_its_date(zone_name: str, at: datetime) -> None:
    zone = ZoneInfo(zone_name)
    start, end = day_of(zone, at)
    assert start <= at < end
    day = at.astimezone(zone).date()
    assert [moment.astimezone(zone).date() == day for moment in (start - MINUTE, start, end - MINUTE, end)] == [
        False,
        True,
        True,
        False,
    ]
    assert timedelta(hours=23) <= end - start <= timedelta(hours=25)
