"""``hilnas measurements``: measuring a model of one's own, and the latency query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.models.own_models import measure
from hilnas.cli.options import (
    ExportFormat,
    FormatOption,
    JsonOption,
    LimitOption,
    ServerOption,
    TokenOption,
    connect,
    documents,
    print_json,
    write_bytes,
)
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.client.documents import Document, Documents
from nas_engine.domain.uncertainty import Interval, number_text, value_text

if TYPE_CHECKING:
    from hilnas.client.transport import Params

app = new_app("Measure a model of your own; query measured latencies of every search.")
MeasurementArgument = Annotated[
    str,
    typer.Argument(
        metavar="MEASUREMENT", help="Id (meas_...), or a part of it.", autocompletion=names_of("measurements")
    ),
]
DeviceTypeOption = Annotated[
    str | None, typer.Option("--device-type", help="On devices of this type.", autocompletion=names_of("device-types"))
]
ArchOption = Annotated[str | None, typer.Option("--arch-id", help="Of this architecture: its id, or the first part.")]
SearchOption = Annotated[
    str | None,
    typer.Option("--search", help="Made for this search, by its name or id.", autocompletion=names_of("searches")),
]
KindOption = Annotated[
    list[str] | None, typer.Option("--kind", help="measured, simulated or estimated [default: measured].")
]


app.command("create")(measure)


@app.command("list")
def list_measurements(
    device_type: DeviceTypeOption = None,
    arch_id: ArchOption = None,
    search: SearchOption = None,
    kind: KindOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List measurements, newest first."""
    filters = _filters(device_type, arch_id, search, kind)
    with documents(server, token) as nas:
        found = list(nas.items("measurements", params=filters, limit=limit))
        hidden = "" if found or as_json else _hidden(nas, device_type, arch_id, search, kind)
    listings.show(found, _COLUMNS, as_json=as_json, empty=hidden)


@app.command()
def export(
    file_format: FormatOption = ExportFormat.CSV,
    device_type: DeviceTypeOption = None,
    arch_id: ArchOption = None,
    search: SearchOption = None,
    kind: KindOption = None,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Write everything that matches to standard output."""
    with connect(server, token) as nas:
        filters = _filters(device_type, arch_id, search, kind)
        write_bytes(nas.measurements.export(file_format.media_type, filters))


@app.command()
def show(
    measurement_id: MeasurementArgument,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Show a measurement with its flags."""
    with documents(server, token) as nas:
        found = nas.get("measurements", measurement_id)
    print_json(found) if as_json else listings.show_one(found, (*_COLUMNS, *_SHOWN))


@app.command()
def get(
    measurement_id: MeasurementArgument,
    samples: Annotated[bool, typer.Option(help="The raw samples instead.")] = False,
    _: JsonOption = True,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Print a measurement as JSON."""
    with documents(server, token) as nas:
        print_json(nas.get("measurements", measurement_id, *(("samples",) if samples else ())))


def _hidden(
    nas: Documents, device_type: str | None, arch_id: str | None, search: str | None, kind: list[str] | None
) -> str:
    """Why a listing is empty: which filter hides what there is."""
    from server.measuring.measurement import MeasurementKind

    measured = [MeasurementKind.MEASURED.value]
    others = sorted({one.value for one in MeasurementKind} - set(kind or measured))
    counts = {one: _count(nas, _filters(device_type, arch_id, search, [one])) for one in others}
    found = {one: num for one, num in counts.items() if num}
    shown = " or ".join(kind or measured)
    if found:
        there = ", ".join(f"{num} {one}" for one, num in found.items())
        ask = " ".join(f"--kind {one}" for one in found)
        return f"Nothing {shown} matches, but {there}: add {ask} to see them."
    named = {"--device-type": device_type, "--arch-id": arch_id, "--search": search}
    filters = " ".join(f"{option} {value}" for option, value in named.items() if value is not None)
    return f"Nothing matches {filters}: leave a filter out." if filters else "Nothing was measured yet."


def _filters(device_type: str | None, arch_id: str | None, search: str | None, kind: list[str] | None) -> Params:
    return {"device_type": device_type, "arch_id": arch_id, "search_id": search, "kind": kind or None}


def _count(nas: Documents, filters: Params) -> int:
    return int(nas.get("measurements", params={**filters, "page_size": 1, "include_total": True})["total"])


def _p90(found: Document) -> str:
    value = found["stats"].get("p90_us")
    return value_text(value, digits=4)


_COLUMNS: tuple[listings.Column, ...] = (
    ("id", listings.member("id")),
    ("device type", listings.member("device_type")),
    ("kind", listings.member("kind")),
    ("architecture", lambda one: "-" if one["arch_id"] is None else str(one["arch_id"])[:12]),
    ("p50 [us]", lambda one: _median(one["stats"])),
    ("p90 [us]", _p90),
    ("runs", lambda one: str(one["stats"]["count"])),
    ("validity", listings.member("validity")),
)
_SHOWN: tuple[listings.Column, ...] = (
    ("min [us]", lambda one: value_text(one["stats"]["min_us"], digits=4)),
    ("profile", listings.member("profile")),
    ("label", lambda one: one["label"] or "-"),
    ("flags", lambda one: "; ".join(f"{flag['validity']}: {flag['reason']}" for flag in one["flags"]) or "-"),
    ("search", listings.member("search_id")),
    ("board", listings.member("device_id")),
    ("measured", listings.time("created_at")),
)


def _median(stats: Document) -> str:
    return number_text(Interval(stats["p50_us"], stats["ci95_low_us"], stats["ci95_high_us"]))
