"""Verbs of ``hilnas devices`` that say who uses a board: its rules of use, and its owner."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.options import JsonOption, ServerOption, TokenOption, documents, print_json
from hilnas.client.documents import Document
from hilnas.client.errors import HilnasError
from nas_engine.domain.json_value import JsonValue

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DeviceArgument = Annotated[
    str,
    typer.Argument(
        metavar="DEVICE", help="Name, id (dev_...), or a part of the id.", autocompletion=names_of("devices")
    ),
]
_WINDOW = re.compile(r"(?:(?P<days>[a-z,-]+) )?(?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)")


def share(
    device_id: DeviceArgument,
    users: Annotated[
        list[str] | None,
        typer.Option("--user", help="Who may use it besides its owner, by name or id; repeat it for several."),
    ] = None,
    owner_only: Annotated[bool, typer.Option("--owner-only", help="Nobody but its owner may use it.")] = False,
    windows: Annotated[
        list[str] | None,
        typer.Option(
            "--window",
            metavar="[DAYS ]FROM-TO",
            help="When it takes work of others, such as 'mon-fri 18:00-08:00' or 'sat,sun 00:00-24:00'; repeat it.",
        ),
    ] = None,
    time_zone: Annotated[str, typer.Option(help="IANA name, such as Europe/Berlin; of windows and days.")] = "UTC",
    hours_per_day: Annotated[
        float | None, typer.Option(help="Board time that each other owner gets in a day, hours.")
    ] = None,
    share_per_day: Annotated[
        float | None, typer.Option(help="The same as a fraction of the day, such as 0.25.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Take all rules away.")] = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Say who may use a board, when and how much of a day; all rules that it has then (its owner, admins)."""
    restricted = users or owner_only or windows or hours_per_day is not None or share_per_day is not None
    if everybody and restricted:
        raise HilnasError("--everybody takes all rules away: leave it out, or the others")
    if not everybody and not restricted:
        raise HilnasError(
            "say who, when or how much: --user, --owner-only, --window, --hours-per-day or --share-per-day; "
            "--everybody takes all rules away, and 'hilnas devices show' prints those that it has"
        )
    if users and owner_only:
        raise HilnasError("--owner-only leaves nobody else: give it without --user")
    body: dict[str, JsonValue] = {
        "users": list(users) if users else [] if owner_only else None,
        "windows": [_window(text) for text in windows or ()],
        "time_zone": time_zone,
        "max_hours_per_day": hours_per_day,
        "max_share_per_day": share_per_day,
    }
    with documents(server, token) as nas:
        _print(nas.put("devices", device_id, "rules", body=body), as_json)


def give(
    device_id: DeviceArgument,
    owner: Annotated[str, typer.Argument(help="Whose it is from now on, by name or id.")],
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Make a board somebody else's (admins); the rules of its use stay."""
    with documents(server, token) as nas:
        _print(nas.put("devices", device_id, "owner", body={"owner": owner}), as_json)


def rules_text(device: Document) -> str:
    """Who uses a board, when and how much of a day, in a line; servers of earlier releases say nothing of it."""
    rules = device.get("rules") or {}
    users, windows, zone = rules.get("users"), rules.get("windows") or [], rules.get("time_zone", "UTC")
    said = ["everybody" if users is None else ", ".join(users) or "nobody but its owner"]
    if windows:
        said.append(f"{', '.join(map(_window_text, windows))} {zone}")
    if (hours := rules.get("max_hours_per_day")) is not None:
        said.append(f"each {hours:g} h of a day {zone}")
    if (fraction := rules.get("max_share_per_day")) is not None:
        said.append(f"each {100 * fraction:g} % of a day {zone}")
    return "; ".join(said)


def _window(text: str) -> Document:
    found = _WINDOW.fullmatch(" ".join(text.lower().split()))
    if found is None:
        raise HilnasError(f"--window {text!r}: write it as '18:00-08:00' or 'mon-fri 18:00-08:00'")
    return {"days": _days(found["days"], text), "start": found["start"], "end": found["end"]}


def _days(text: str | None, window: str) -> list[str]:
    """Days of a list of days and spans of days; a span may go over the end of the week."""
    if text is None:
        return list(DAYS)
    named: set[str] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        last = last or first
        if first not in DAYS or last not in DAYS:
            raise HilnasError(f"--window {window!r}: {part!r} is no day or span of days; days are {', '.join(DAYS)}")
        start, length = DAYS.index(first), (DAYS.index(last) - DAYS.index(first)) % 7
        named |= {DAYS[(start + number) % 7] for number in range(length + 1)}
    return [day for day in DAYS if day in named]


def _window_text(window: Document) -> str:
    """A window as it is given: spans of days in one, each day of others."""
    places = [DAYS.index(day) for day in window["days"]]
    in_a_row = len(places) > 2 and places == list(range(places[0], places[-1] + 1))
    days = f"{DAYS[places[0]]}-{DAYS[places[-1]]}" if in_a_row else ",".join(window["days"])
    return f"{'' if len(places) == len(DAYS) else days + ' '}{window['start']}-{window['end']}"


def _print(device: Document, as_json: bool) -> None:
    if as_json:
        print_json(device)
        return
    owner = (device.get("owner") or {}).get("name", "nobody")
    typer.echo(f"{device['id']}  {device['name']}  owner: {owner}  shared with: {rules_text(device)}")
