"""``hilnas tables``: latency tables, and how well they estimate whole networks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.local.cost_tables import cost_table
from hilnas.cli.options import (
    ExportFormat,
    FormatOption,
    JsonOption,
    LimitOption,
    OwnerOption,
    ServerOption,
    TokenOption,
    connect,
    documents,
    print_json,
    write_bytes,
)
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.cli.shown.tables_listed import IMPORTED, IMPORTED_TABLE, TABLES, newest_tables, read_table
from hilnas.cli.specs.spec_files import read_spec_file
from hilnas.cli.terminal import make_console
from hilnas.cli.verbs import About
from hilnas.cli.working import uploaded, working
from hilnas.client.errors import HilnasError, SpecFileError
from nas_engine.cost.cost_table import MEDIA_TYPE
from nas_engine.domain.host.scratch import scratch_folder
from nas_engine.domain.json_value import JsonValue
from server.candidates.states import SearchState

if TYPE_CHECKING:
    from hilnas.client.client import Hilnas
    from server.latency_tables.schemas import CostReportDetail, LatencyTableDetail

app = new_app("Have the operators of a space measured; report how well they estimate whole networks.")
_console = make_console()
ABOUT = About("latency-tables", "table", "ltab")
TableArgument = Annotated[str, typer.Argument(metavar=ABOUT.metavar, help=ABOUT.help, autocompletion=ABOUT.complete)]
AnyTableArgument = Annotated[
    str,
    typer.Argument(
        metavar=ABOUT.metavar,
        help=f"{ABOUT.help} Of an imported table its hash, or the beginning of it.",
        autocompletion=ABOUT.complete,
    ),
]
ReportArgument = Annotated[
    str,
    typer.Argument(
        metavar="REPORT",
        help="Name, id (crep_...), or a part of the id.",
        autocompletion=names_of("latency-tables", "{table_id}", "reports"),
    ),
]
SteeredOption = Annotated[
    str | None, typer.Option("--report", help="This report of the table instead of the table itself.")
]
LOOK_S = 0.5
T = TypeVar("T", bound="Followed")


class Followed(Protocol):
    """A table or report: what is measured in a batch."""

    @property
    def name(self) -> str:
        """Name for people, shown in lists."""

    @property
    def state(self) -> SearchState:
        """How it stands."""

    @property
    def waiting_for(self) -> str:
        """What it waits for besides its turn; empty for nothing."""


FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Show it until it ends, then its figures.")]


@app.command()
def create(
    file: Annotated[Path | None, typer.Argument(help="Spec as JSON or YAML; - reads standard input.")] = None,
    space: Annotated[
        str | None, typer.Option(help="Search space, e.g. densenas-mbv2.", autocompletion=names_of("search-spaces"))
    ] = None,
    device_type: Annotated[
        str | None, typer.Option(help="Kind of board, e.g. rk3588.", autocompletion=names_of("device-types"))
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images per inference; the paper's tables: 32.")] = None,
    dtype: Annotated[str | None, typer.Option(help="fp32, fp16 or w8a8.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the table for people, shown in lists.")] = None,
    follow: FollowOption = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Have every operator of a space measured: from a spec file, options, or both; options win."""
    spec = {} if file is None else read_spec_file(file)
    spec.update({} if name is None else {"name": name})
    spec.update({} if space is None else {"space": {"id": space}})
    device = spec.get("device")
    wanted: dict[str, JsonValue] = dict(device) if isinstance(device, dict) else {}
    options = {"device_type": device_type, "batch": batch, "dtype": dtype}
    wanted.update({key: value for key, value in options.items() if value is not None})
    if not spec or "device_type" not in wanted:
        raise SpecFileError("nothing to measure: give a spec file, or at least --space and --device-type")
    with connect(server, token) as nas:
        table = nas.latency_tables.create({**spec, "device": wanted})
        if not follow:
            print_json(table) if as_json else typer.echo(table.id)
            return
        shown = _follow_table(nas, table.id, as_json=as_json)
    print_json(shown) if as_json else _print_table(shown)
    _fail_unless_completed("latency table", shown.id, shown.state, shown.reason)


@app.command("import")
def import_table(
    file: Annotated[Path, typer.Argument(help="Published nested lists, or a CSV file of label and latency_us.")],
    space: Annotated[str, typer.Option(help="Search space that it is of, e.g. densenas-mbv2.")],
    parameters: Annotated[str, typer.Option(help="Of the space, as JSON, where they are not the published.")] = "{}",
    unit: Annotated[str, typer.Option(help="Of the nested lists, which do not say it: ms or us.")] = "ms",
    source: Annotated[str | None, typer.Option(help="Where it comes from, for people [the file's name].")] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Bring a table that a DenseNAS search pays with; prints the hash that `algorithm.cost_table` of a spec takes."""
    content = cost_table(file, space, parameters, unit, source or file.name)
    with scratch_folder("table-") as folder, connect(server, token) as nas:
        path = folder / "table.json"
        path.write_bytes(content)
        stored = uploaded(nas, path, MEDIA_TYPE, file.name)
    print_json(stored) if as_json else typer.echo(stored.sha256)


@app.command("list")
def list_tables(
    owner: OwnerOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List latency tables and imported tables of costs, newest first."""
    with documents(server, token) as nas:
        found = newest_tables(nas, owner, limit)
    listings.show(found, TABLES, as_json=as_json)


@app.command()
def show(
    table_id: AnyTableArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show a table with its operators, or what an imported one says of itself."""
    with documents(server, token) as asked:
        found = read_table(asked, table_id)
    if as_json:
        print_json(found)
    elif found["kind"] == IMPORTED:
        listings.show_one(found, IMPORTED_TABLE)
    else:
        with connect(server, token) as nas:
            _print_table(nas.latency_tables.get(found["id"]))


@app.command("get")
def get(
    table_id: AnyTableArgument, _: JsonOption = True, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Print a latency table or an imported one as JSON."""
    with documents(server, token) as asked:
        print_json(read_table(asked, table_id))


@app.command()
def follow(
    table_id: TableArgument,
    report: SteeredOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Show a table, or one of its reports, until it ends, then its figures."""
    with connect(server, token) as nas:
        if report is None:
            table = _follow_table(nas, nas.latency_tables.get(table_id).id, as_json=as_json)
            print_json(table) if as_json else _print_table(table)
            _fail_unless_completed("latency table", table.id, table.state, table.reason)
        else:
            found = nas.latency_tables.report(table_id, report)
            ended = _follow_report(nas, found.table_id, found.id, as_json=as_json)
            print_json(ended) if as_json else _print_report(ended)
            _fail_unless_completed("report", ended.id, ended.state, ended.reason)


@app.command()
def pause(
    table_id: TableArgument,
    report: SteeredOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Give out no more measuring jobs of a table, or of one of its reports; what a board holds goes on."""
    _steer(table_id, report, "pause", as_json, server, token)


@app.command()
def resume(
    table_id: TableArgument,
    report: SteeredOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Go on with a paused table, or with one of its reports."""
    _steer(table_id, report, "resume", as_json, server, token)


@app.command()
def cancel(
    table_id: TableArgument,
    report: SteeredOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Measure no more of a table, or of one of its reports; what was measured stays."""
    _steer(table_id, report, "cancel", as_json, server, token)


@app.command()
def export(
    table_id: TableArgument,
    report: Annotated[str | None, typer.Option(help="The networks of this report instead of the operators.")] = None,
    file_format: FormatOption = ExportFormat.CSV,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Write every operator, or every network of a report, to standard output."""
    with connect(server, token) as nas:
        tables = nas.latency_tables
        if report is None:
            write_bytes(tables.export(table_id, file_format.media_type))
        else:
            write_bytes(tables.export_report(table_id, report, file_format.media_type))


@app.command()
def report(
    table_id: TableArgument,
    networks: Annotated[int, typer.Option(min=2, help="Networks that are measured end to end.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of the networks drawn.")] = 0,
    logit_std: Annotated[
        float, typer.Option(help="Deviation of the architecture parameters networks are derived from (DenseNAS).")
    ] = 1.0,
    follow: FollowOption = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Measure sampled networks, and compare them with what the table says of them."""
    with connect(server, token) as nas:
        tables = nas.latency_tables
        made = tables.create_report(table_id, {"num_networks": networks, "seed": seed, "logit_std": logit_std})
        if not follow:
            print_json(made) if as_json else typer.echo(made.id)
            return
        shown = _follow_report(nas, made.table_id, made.id, as_json=as_json)
    print_json(shown) if as_json else _print_report(shown)
    _fail_unless_completed("report", shown.id, shown.state, shown.reason)


@app.command()
def reports(
    table_id: TableArgument,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List the reports of a table, newest first."""
    with documents(server, token) as nas:
        found = list(nas.items("latency-tables", table_id, "reports", limit=limit))
    listings.show(found, _REPORTS, as_json=as_json)


@app.command("show-report")
def show_report(
    table_id: TableArgument,
    report_id: ReportArgument,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Show how far a table's estimates are from measured networks."""
    with connect(server, token) as nas:
        found = nas.latency_tables.report(table_id, report_id)
    print_json(found) if as_json else _print_report(found)


def _print_table(found: LatencyTableDetail) -> None:
    from rich.markup import escape
    from rich.table import Table

    from nas_engine.domain.uncertainty import value_text

    title = f"{found.name}: {found.num_measured} of {found.num_operators} operators, batch {found.batch}, {found.dtype}"
    table = Table("operator", escape("latency [us]"), "state", "flags", title=title, title_justify="left")
    for row in found.rows:
        latency = value_text(row.latency_us)
        table.add_row(row.label, latency, row.state.value, ", ".join(row.flags))
    _console.print(table)


def _print_report(found: CostReportDetail) -> None:
    from rich.markup import escape
    from rich.table import Table

    from nas_engine.domain.uncertainty import value_text

    title = f"{found.name}: {found.num_measured} of {found.num_networks} networks measured"
    headers = ("estimator", "networks", "Kendall tau", "mean error [us]", "mean |error| [us]", "mean |error| [%]")
    table = Table(*map(escape, headers), title=title, title_justify="left")
    for one in found.agreements:
        tau = value_text(one.kendall_tau, digits=3)
        errors = (
            value_text(one.mean_error_us, digits=4, signed=True),
            value_text(one.mean_absolute_error_us, digits=4),
            value_text(100 * one.mean_relative_error, digits=3),
        )
        table.add_row(one.estimator, str(one.num_networks), tau, *errors)
    _console.print(table)
    missing = sum(bool(row.missing) for row in found.rows)
    if missing:
        _console.print(f"{missing} networks have operators that the table lacks: they are not compared.")


def _steer(table_id: str, report: str | None, verb: str, as_json: bool, server: str | None, token: str | None) -> None:
    with documents(server, token) as nas:
        of_report = () if report is None else ("reports", report)
        found = nas.act("latency-tables", table_id, *of_report, verb=verb)
    print_json(found) if as_json else typer.echo(f"{found['id']}  {found['state']}")


def _follow_table(nas: Hilnas, table_id: str, *, as_json: bool = False) -> LatencyTableDetail:
    return _follow(
        lambda: nas.latency_tables.get(table_id),
        lambda one: f"{one.num_measured} of {one.num_operators} operators",
        as_json,
    )


def _follow_report(nas: Hilnas, table_id: str, report_id: str, *, as_json: bool = False) -> CostReportDetail:
    return _follow(
        lambda: nas.latency_tables.report(table_id, report_id),
        lambda one: f"{one.num_measured} of {one.num_networks} networks",
        as_json,
    )


def _follow(read: Callable[[], T], progress: Callable[[T], str], as_json: bool) -> T:
    """Show a table or report until it ends; returns how it ended."""
    with working(make_console(stderr=as_json)) as say:
        while True:  # ends with what it follows
            current = read()
            waiting = f"; {current.waiting_for}" if current.waiting_for else ""
            say(f"{current.name}: {current.state.value}, {progress(current)} measured{waiting}")
            if current.state.final:
                return current
            time.sleep(LOOK_S)


def _fail_unless_completed(what: str, batch_id: str, state: SearchState, reason: str) -> None:
    if state is not SearchState.COMPLETED:
        raise HilnasError(f"{what} {batch_id} is {state.value}: {reason or 'no reason was given'}")


_REPORTS: tuple[listings.Column, ...] = (
    ("id", listings.member("id")),
    ("name", listings.member("name")),
    ("state", listings.member("state")),
    ("seed", listings.member("seed")),
    ("deviation", lambda one: f"{one['logit_std']:g}"),
    ("measured", lambda one: f"{one['num_measured']}/{one['num_networks']}"),
    ("created", listings.time("created_at")),
)
