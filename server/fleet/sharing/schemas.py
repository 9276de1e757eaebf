"""Rules of use of a board on the wire. Needs pydantic alone: the SDK reads answers with it."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from server.core.http.resources import Body, Resource, Text
from server.fleet.sharing.rules import MAX_USERS, MAX_WINDOWS, UseRules
from server.fleet.sharing.windows import WEEKDAYS, TimeWindow, Weekday, clock_text

StartText = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", examples=["18:00"])]
EndText = Annotated[str, Field(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$", examples=["08:00"])]


class TimeWindowBody(Body):
    """A span of the day in which a board takes work of others, on some days of the week."""

    days: Annotated[list[Weekday], Field(min_length=1, max_length=7)] = Field(default_factory=lambda: list(WEEKDAYS))
    """Days of the week on which it begins; absent: every day."""

    start: StartText
    """Time of the day at which it begins, on the clock of the rules' time zone."""

    end: EndText
    """Time of the day at which it ends, 24:00 for the end of the day; where it is before `start`, on the day after."""

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.start == self.end:
            raise ValueError(f"a window from {self.start} to {self.end} has no length: a whole day is 00:00 to 24:00")
        return self

    def window(self) -> TimeWindow:
        """As a value."""
        days = tuple(day for day in WEEKDAYS if day in self.days)
        return TimeWindow(days=days, start_min=_minute(self.start), end_min=_minute(self.end))


_ONE_LIMIT: dict[str, Any] = {
    "not": {
        "required": ["max_hours_per_day", "max_share_per_day"],
        "properties": {"max_hours_per_day": {"type": "number"}, "max_share_per_day": {"type": "number"}},
    }
}


class UseRulesBody(Body):
    """Rules of use of a board, all of them: what is left out holds nobody up. Its owner's own work goes by none."""

    model_config = ConfigDict(json_schema_extra=_ONE_LIMIT)

    users: Annotated[list[Text], Field(max_length=MAX_USERS)] | None = None
    """Names or ids of the principals that may use it besides its owner, an empty list: its owner alone; absent:
    everybody."""

    windows: Annotated[list[TimeWindowBody], Field(max_length=MAX_WINDOWS)] = Field(default_factory=list)
    """Windows in which it takes work of others; what has begun goes on beyond them. Absent: at any time."""

    time_zone: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+/-]{1,64}$", examples=["Europe/Berlin"])] = "UTC"
    """Name in the IANA database of the time zone that the windows and the day are in."""

    max_hours_per_day: Annotated[float, Field(gt=0, le=24)] | None = None
    """Hours of board time that each other owner gets in a calendar day; absent: any number."""

    max_share_per_day: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fraction of a calendar day that each other owner gets as board time, instead of hours; absent: all of it."""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.max_hours_per_day is not None and self.max_share_per_day is not None:
            raise ValueError("max_hours_per_day and max_share_per_day say the same: give one of them")
        return self

    def rules(self) -> UseRules:
        """As a value, all but the users: those are looked up."""
        return UseRules(
            windows=tuple(window.window() for window in self.windows),
            time_zone=self.time_zone,
            max_hours_per_day=self.max_hours_per_day,
            max_share_per_day=self.max_share_per_day,
        )


class TimeWindowResource(Resource):
    """A span of the day in which a board takes work of others."""

    days: list[Weekday]
    """Days of the week on which it begins."""

    start: str
    """Time of the day at which it begins, such as `18:00`, on the clock of the rules' time zone."""

    end: str
    """Time of the day at which it ends, on the day after where that is before `start`; `24:00` for the day's end."""


class UseRulesResource(Resource):
    """Rules of use of a board, as they are set."""

    users: list[str] | None = None
    """Names of the principals that may use it besides its owner; null: everybody."""

    windows: list[TimeWindowResource] = Field(default_factory=list)
    """Windows in which it takes work of others than its owner; none: at any time."""

    time_zone: str = "UTC"
    """Name in the IANA database of the time zone that the windows and the day are in."""

    max_hours_per_day: float | None = None
    """Hours of board time that each other owner gets in a calendar day; null: as many as there are, or a fraction."""

    max_share_per_day: float | None = None
    """Fraction of a calendar day that each other owner gets as board time; null: all of it, or hours."""


class DeviceOwnerBody(Body):
    """The principal that a board is given to."""

    owner: Text
    """Name or id of the principal that owns it from now on."""


def rules_resource(rules: UseRules | None) -> UseRulesResource:
    """The resource of a board's rules; those of one without any hold nobody up."""
    if rules is None:
        return UseRulesResource()
    return UseRulesResource(
        users=None if rules.users is None else [user.name for user in rules.users],
        windows=[
            TimeWindowResource(
                days=list(window.days), start=clock_text(window.start_min), end=clock_text(window.end_min)
            )
            for window in rules.windows
        ],
        time_zone=rules.time_zone,
        max_hours_per_day=rules.max_hours_per_day,
        max_share_per_day=rules.max_share_per_day,
    )


def _minute(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
