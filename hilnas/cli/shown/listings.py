"""Listings: the same documents as a table for people, or as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from hilnas.cli.options import print_json
from hilnas.client.documents import Document
from nas_engine.domain.text import duration_text
from nas_engine.domain.uncertainty import Interval, number_text, shown_in, value_text

Column = tuple[str, Callable[[Document], str]]
"""Title, with the unit in brackets, and what a document has there."""


def show(found: Iterable[Document], columns: Sequence[Column], *, as_json: bool, empty: str = "") -> None:
    """Print documents.

    Args:
        empty: sentence in place of a table without rows; absent: its head alone.
    """
    listed = list(found)
    if as_json:
        print_json(listed)
        return
    # Here, since what lists as JSON needs no tables.
    from rich.markup import escape
    from rich.table import Table

    from hilnas.cli.terminal import make_console

    if not listed and empty:
        make_console().print(empty, markup=False, highlight=False, soft_wrap=True)
        return
    table = Table(*(escape(title) for title, _ in columns))
    for document in listed:
        table.add_row(*(escape(cell(document)) for _, cell in columns))
    make_console().print(table)


def show_one(document: Document, columns: Sequence[Column]) -> None:
    """Print one document, a line for each column that has something."""
    from rich.table import Table
    from rich.text import Text

    from hilnas.cli.terminal import make_console

    table = Table(show_header=False)
    for title, cell in columns:
        if (text := cell(document)) != "-":
            table.add_row(Text(title, style="bold"), Text(text))
    make_console().print(table)


def member(name: str) -> Callable[[Document], str]:
    """Cells with a member as it is; a dash where it is null."""
    return lambda document: _text(document.get(name))


def time(name: str) -> Callable[[Document], str]:
    """Cells with a time in the zone of this machine, which is written behind it."""
    return lambda document: time_text(document.get(name))


def duration(name: str) -> Callable[[Document], str]:
    """Cells with a member of a document's ``time``, which is in seconds; a dash where it is not known."""

    def cell(document: Document) -> str:
        seconds = (document.get("time") or {}).get(name)
        return "-" if seconds is None else duration_text(seconds)

    return cell


def owner(document: Document) -> str:
    """Name of an owner; a dash for nobody."""
    found = document.get("owner")
    return "-" if found is None else str(found["name"])


def time_text(value: str | datetime | None) -> str:
    """Write a time with its zone, for people; a dash for none."""
    if value is None:
        return "-"
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def hypervolume_text(hypervolume: float | None, *, is_over: bool) -> str:
    """The hypervolume that a search has reached; without one, when there will be one. A dash where that is over."""
    return "after the first generation" if hypervolume is None and not is_over else value_text(hypervolume)


TRAININGS: tuple[Column, ...] = (
    ("id", member("id")),
    ("name", member("name")),
    ("state", member("state")),
    ("space", lambda training: str(training["spec"]["space"]["id"])),
    ("data set", lambda training: str(training["spec"]["dataset"])),
    ("step", lambda training: f"{training['progress']['step']}/{training['progress']['num_steps']}"),
    ("loss", lambda training: _loss(training["progress"]["loss"])),
    ("elapsed", duration("elapsed_s")),
    ("left", duration("left_s")),
    ("created", time("created_at")),
    ("owner", owner),
)
"""Of supernets and networks."""

MODELS: tuple[Column, ...] = (
    ("file", member("file_name")),
    ("format", member("format")),
    ("dtype", member("dtype")),
    ("weights", member("weights")),
    ("state", lambda model: f"{model['state']} {model['reason']}".strip()),
)
"""Of model files, for boards."""


LEARNING: tuple[Column, ...] = (
    ("step", member("step")),
    ("training loss", lambda point: _loss(point["loss"])),
    ("training top1 [%]", lambda point: _percent(point["top1"])),
    ("learning rate", lambda point: value_text(point["learning_rate"])),
    ("throughput [images/s]", lambda point: value_text(point["images_per_s"])),
    ("reported", time("at")),
)
"""Of the points of learning curves."""


def _percent(value: float | None) -> str:
    return "-" if value is None else number_text(shown_in(Interval(value), "fraction"))


def _loss(value: float | None) -> str:
    return value_text(value)


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)
