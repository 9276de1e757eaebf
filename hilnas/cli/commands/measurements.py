"""``hilnas measurements``: the latency query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from hilnas.cli.options import (
    ExportFormat,
    FormatOption,
    JsonOption,
    LimitOption,
    ServerOption,
    TokenOption,
    connect,
    print_json,
    write_bytes,
)
from hilnas.cli.runner import new_app, run
from hilnas.cli.terminal import make_console
from hilnas.client.client import Hilnas
from hilnas.client.transport import Params
from server.measuring.measurement import MeasurementKind

app = new_app("Query measured latencies of every search.")
_console = make_console()
DeviceTypeOption = Annotated[str | None, typer.Option("--device-type", help="On devices of this type.")]
ArchOption = Annotated[str | None, typer.Option("--arch-id", help="Of this architecture.")]
SearchOption = Annotated[str | None, typer.Option("--search", help="Made for this search.")]
KindOption = Annotated[
    list[str] | None, typer.Option("--kind", help="measured, simulated or estimated [default: measured].")
]


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
    with connect(server, token) as nas:
        found = list(nas.measurements.all(_filters(device_type, arch_id, search, kind), limit))
        hidden = _hidden(nas, device_type, arch_id, search, kind) if not found else ""
    if hidden and not as_json:
        _console.print(hidden)
        return
    if as_json:
        print_json(found)
        return
    table = Table("id", "device type", "kind", "architecture", "p50 [us]", "95 % interval", "p90", "runs", "validity")
    for one in found:
        stats = one.stats
        interval = f"{stats.ci95_low_us:.1f} .. {stats.ci95_high_us:.1f}"
        p90 = "-" if stats.p90_us is None else f"{stats.p90_us:.1f}"
        arch = "-" if one.arch_id is None else one.arch_id[:12]
        table.add_row(
            one.id,
            one.device_type,
            one.kind,
            arch,
            f"{stats.p50_us:.1f}",
            interval,
            p90,
            str(stats.count),
            one.validity,
        )
    _console.print(table)


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
def get(
    measurement_id: Annotated[str, typer.Argument(metavar="MEASUREMENT", help="Id, meas_...")],
    samples: Annotated[bool, typer.Option(help="The raw samples instead.")] = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Print a measurement as JSON."""
    with connect(server, token) as nas:
        print_json(nas.measurements.samples(measurement_id) if samples else nas.measurements.get(measurement_id))


def main(argv: Sequence[str]) -> int:
    """Entry of ``hilnas measurements``."""
    return run(app, "measurements", argv)


def _hidden(
    nas: Hilnas, device_type: str | None, arch_id: str | None, search: str | None, kind: list[str] | None
) -> str:
    """Why a listing is empty: which filter hides what there is."""
    others = sorted({one.value for one in MeasurementKind} - set(kind or [MeasurementKind.MEASURED.value]))
    counts = {one: nas.measurements.count(_filters(device_type, arch_id, search, [one])) for one in others}
    found = {one: num for one, num in counts.items() if num}
    shown = " or ".join(kind or [MeasurementKind.MEASURED.value])
    if found:
        there = ", ".join(f"{num} {one}" for one, num in found.items())
        ask = " ".join(f"--kind {one}" for one in found)
        return f"Nothing {shown} matches, but {there}: add {ask} to see them."
    named = {"--device-type": device_type, "--arch-id": arch_id, "--search": search}
    filters = " ".join(f"{option} {value}" for option, value in named.items() if value is not None)
    return f"Nothing matches {filters}: leave a filter out." if filters else "Nothing was measured yet."


def _filters(device_type: str | None, arch_id: str | None, search: str | None, kind: list[str] | None) -> Params:
    return {"device_type": device_type, "arch_id": arch_id, "search_id": search, "kind": kind or None}
