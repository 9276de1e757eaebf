"""``hilnas search``: create, follow, steer and read searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilnas.cli.commands import search_changes
from hilnas.cli.commands.search_changes import ABOUT, SearchArgument
from hilnas.cli.commands.what_if import what_if
from hilnas.cli.completions import names_of, presets
from hilnas.cli.exit_status import ExitStatus
from hilnas.cli.options import (
    ExportFormat,
    FindOption,
    FormatOption,
    JsonOption,
    LabelOption,
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
from hilnas.cli.terminal import make_console
from hilnas.cli.verbs import add_get
from hilnas.client.documents import Document
from hilnas.client.errors import HilnasError, SpecFileError
from nas_engine.domain.text import did_you_mean
from nas_engine.domain.uncertainty import value_text
from server.candidates.states import SearchState

if TYPE_CHECKING:
    from server.searches.schemas import SearchResource

# What shows fronts and specs is loaded by the verbs that do: listing searches must not wait for it.
app = new_app("Create, follow, steer and read searches.")
_console = make_console()
SearchesArgument = Annotated[
    list[str], typer.Argument(metavar="SEARCH...", help="Names or ids.", autocompletion=ABOUT.complete)
]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Show it until it ends, then its front.")]

WarmStartOption = Annotated[
    list[str] | None,
    typer.Option(
        "--warm-start",
        metavar="SOURCE",
        help="Evaluate these first: measured (the database), srch_... or search:NAME (another search), @FILE (a list "
        "of architectures), or one architecture: a published name or a genotype. May be repeated.",
    ),
]


@app.command()
def create(
    file: Annotated[Path | None, typer.Argument(help="Spec as JSON or YAML; - reads standard input.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Search to start from; `hilnas presets list` names them.", autocompletion=presets)
    ] = None,
    device_type: Annotated[
        str | None, typer.Option(help="Kind of board, instead of the spec's.", autocompletion=names_of("device-types"))
    ] = None,
    latency_table: Annotated[
        str | None,
        typer.Option(help="Table that DenseNAS pays with, by name or id.", autocompletion=names_of("latency-tables")),
    ] = None,
    supernet: Annotated[
        str | None,
        typer.Option(help="A trained one, by name or id, instead of the spec's.", autocompletion=names_of("supernets")),
    ] = None,
    warm_start: WarmStartOption = None,
    warm_start_max: Annotated[
        int | None, typer.Option(min=1, help="Most that are taken from a search and from the database, each.")
    ] = None,
    follow: FollowOption = False,
    validate_only: Annotated[bool, typer.Option("--validate", help="Only say what the spec would do.")] = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Start a search: from a preset, a spec file, options, or these together; the later ones win."""
    from hilnas.cli.progress import algorithm_text, follow_search
    from hilnas.cli.shown.fronts import front_table
    from hilnas.cli.specs.search_documents import SearchOptions, search_document, with_ids
    from hilnas.cli.specs.validation import validation_text
    from hilnas.cli.specs.warm_starts import warm_start_document
    from server.searches.presets import SEARCH_PRESETS

    if preset == "list":
        for known in SEARCH_PRESETS.values():
            typer.echo(f"{known.name:34}{known.summary}")
        return
    options = SearchOptions(device_type=device_type, latency_table=latency_table, supernet=supernet)
    spec = search_document(file, preset, options)
    if warm_start:
        spec["warm_start"] = warm_start_document(warm_start, warm_start_max)
    elif warm_start_max is not None:
        raise SpecFileError("--warm-start-max goes with --warm-start")
    with connect(server, token) as nas:
        spec = with_ids(nas, spec, options)
        if validate_only:
            report = nas.searches.validate(spec)
            print_json(report) if as_json else typer.echo(validation_text(report))
            raise typer.Exit(ExitStatus.DONE if report.valid else ExitStatus.FAILED)
        search = nas.searches.create(spec)
        for warning in search.warnings:
            typer.echo(f"warning: {warning}", err=True)
        if (algorithm := algorithm_text(search.progress.report)) is not None:
            typer.echo(f"algorithm: {algorithm}", err=True)
        if not follow:
            print_json(search) if as_json else typer.echo(search.id)
            return
        ended = follow_search(nas, search.id, make_console(stderr=as_json))
        print_json(ended) if as_json else _console.print(front_table(nas.searches.front(search.id)))
    _fail_unless_completed(ended)


@app.command("list")
def list_searches(
    state: Annotated[list[SearchState] | None, typer.Option(help="Any of these.")] = None,
    find: FindOption = None,
    label: LabelOption = None,
    owner: OwnerOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List searches, newest first."""
    params = {"state": [one.value for one in state or ()], "owner": owner, "find": find, "label": label or []}
    with documents(server, token) as nas:
        found = list(nas.items("searches", params=params, limit=limit))
    listings.show(found, _COLUMNS, as_json=as_json, empty="" if any(params.values()) else "No search was created yet.")


@app.command()
def show(
    search_id: SearchArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show how a search stands."""
    if as_json:
        get(search_id, True, server, token)
        return
    from hilnas.cli.progress import search_view

    with connect(server, token) as nas:
        search = nas.searches.get(search_id)
    _console.print(search_view(search, search.waiting_for or ""))


get = add_get(app, ABOUT)


@app.command()
def follow(
    search_id: SearchArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show a search until it ends."""
    from hilnas.cli.progress import follow_search
    from hilnas.cli.shown.fronts import front_table

    with connect(server, token) as nas:
        found = nas.searches.get(search_id).id  # a name may be given to another search meanwhile
        ended = follow_search(nas, found, make_console(stderr=as_json))
        print_json(ended) if as_json else _console.print(front_table(nas.searches.front(found)))
    _fail_unless_completed(ended)


@app.command()
def pause(
    searches: SearchesArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Ask no more candidates; what is in flight ends."""
    _steer(searches, "pause", as_json, server, token)


@app.command()
def resume(
    searches: SearchesArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Go on with paused searches."""
    _steer(searches, "resume", as_json, server, token)


@app.command()
def cancel(
    searches: SearchesArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """End searches; they cannot be resumed."""
    _steer(searches, "cancel", as_json, server, token)


app.command()(search_changes.amend)
app.command()(search_changes.amendments)
app.command()(search_changes.clone)


@app.command()
def candidates(
    search_id: SearchArgument,
    order_by: Annotated[str, typer.Option(help="seq or a metric, see 'hilnas plugins metrics'; - descends.")] = "seq",
    where: Annotated[
        list[str] | None, typer.Option(help="A bound such as latency_us:le:8000.", metavar="METRIC:le|ge:NUMBER")
    ] = None,
    find: FindOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List the candidates of a search with their values."""
    from rich.markup import escape
    from rich.table import Table

    from hilnas.cli.shown.fronts import column_title, listed_values, value_cell

    with connect(server, token) as nas:
        listed = nas.searches.candidates(search_id, bounds=where or (), order_by=order_by, find=find, limit=limit)
        found = list(listed)
    if as_json:
        print_json(found)
        return
    metrics = listed_values(found)
    columns = (column_title(one.name, one.unit, one.column) for one in metrics)
    table = Table("candidate", "architecture", "state", *columns, "kind", "expected gain [%]", "flags")
    reasons = {one.id: one.reason for one in found if one.reason and not one.is_cancelled}
    if reasons:
        table.add_column("why")
    for one in found:
        latency = one.latency
        known = {value.name: value for value in one.values}
        table.add_row(
            one.short_id or str(one.seq),
            one.arch_id[:12],
            one.state_text,
            *(value_cell(known.get(metric.name)) for metric in metrics),
            "-" if latency is None else latency.kind,
            "-" if one.expected_gain is None else value_text(100 * one.expected_gain, digits=3),
            one.flags_text,
            *([escape(reasons.get(one.id, ""))] if reasons else ()),
        )
    _console.print(table)


@app.command()
def export(
    search_id: SearchArgument,
    file_format: FormatOption = ExportFormat.CSV,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Write every candidate to standard output."""
    with connect(server, token) as nas:
        write_bytes(nas.searches.export_candidates(search_id, file_format.media_type))


BoardOption = Annotated[
    str | None,
    typer.Option(help="The one board of a search with several that is asked about; `device` is the spec's own."),
]


@app.command()
def front(
    search_id: SearchArgument,
    dominance: Annotated[
        str | None,
        typer.Option(
            metavar="point|confident", help="Compare by values or by confidence intervals [default: as the spec says]."
        ),
    ] = None,
    board: BoardOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Show the Pareto front."""
    from hilnas.cli.shown.fronts import front_table
    from nas_engine.domain.dominance import Dominance

    if dominance is not None and dominance not in list(Dominance):
        known = ", ".join(Dominance)
        raise typer.BadParameter(f"use one of {known}{did_you_mean(dominance, Dominance)}", param_hint="--dominance")
    with connect(server, token) as nas:
        found = nas.searches.front(search_id, dominance=dominance, board=board)
    print_json(found) if as_json else _console.print(front_table(found))


@app.command()
def compare(
    searches: SearchesArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Compare the fronts of several searches: hypervolumes against one reference point, and what each adds."""
    from hilnas.cli.shown.comparisons import comparison_view

    with connect(server, token) as nas:
        found = nas.searches.compare(searches)
    print_json(found) if as_json else _console.print(comparison_view(found))


@app.command()
def answer(
    search_id: SearchArgument,
    latency_ms: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBER[@BOARD]",
            help="Most that the median latency may be, milliseconds; 8@rk3588 of one of several boards.",
        ),
    ] = None,
    latency_us: Annotated[
        list[str] | None,
        typer.Option(metavar="NUMBER[@BOARD]", help="Most that the median latency may be, microseconds."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Another bound, such as macs:le:3e8.", metavar="METRIC:le|ge:NUMBER")
    ] = None,
    board: BoardOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Say which network to ship within a latency, what it beats, and how sure that is."""
    from hilnas.cli.shown.fronts import answer_view

    limit_ms, limit_us = _limit(latency_ms, "--latency-ms"), _limit(latency_us, "--latency-us")
    with connect(server, token) as nas:
        found = nas.searches.answer(
            search_id, latency_ms=limit_ms, latency_us=limit_us, bounds=where or (), board=board
        )
    print_json(found) if as_json else _console.print(answer_view(found), soft_wrap=False)
    if found.ship is None:
        raise typer.Exit(ExitStatus.FAILED)


def _limit(texts: list[str] | None, option: str) -> dict[str, float] | None:
    from hilnas.cli.specs.assignments import latency_limit

    try:
        return latency_limit(texts or ())
    except SpecFileError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


app.command("what-if")(what_if)


@app.command()
def events(
    search_id: SearchArgument,
    after: Annotated[int, typer.Option(min=0, help="Only events with a larger id.")] = 0,
    _: JsonOption = True,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Print events as JSON lines, from the start, until the search ends."""
    with connect(server, token) as nas:
        for event in nas.searches.events(search_id, after):
            typer.echo(json.dumps(event.data))


_COLUMNS: tuple[listings.Column, ...] = (
    ("id", listings.member("id")),
    ("name", listings.member("name")),
    ("state", listings.member("state")),
    ("space", lambda search: str(search["spec"]["space"]["id"])),
    ("evaluated", lambda search: _evaluated(search["progress"])),
    ("front", lambda search: str(search["progress"]["front_size"])),
    ("hypervolume", lambda search: _hypervolume(search)),
    ("elapsed", listings.duration("elapsed_s")),
    ("left", listings.duration("left_s")),
    ("created", listings.time("created_at")),
    ("owner", listings.owner),
)


def _evaluated(progress: Document) -> str:
    others = (("failed", progress["num_failed"]), ("cancelled", progress.get("num_cancelled")))
    also = "".join(f", {number} {name}" for name, number in others if number)
    return f"{progress['num_complete'] + progress['num_infeasible']}/{progress['num_candidates']}{also}"


def _hypervolume(search: Document) -> str:
    is_over = SearchState(search["state"]).final
    return listings.hypervolume_text(search["progress"]["hypervolume"], is_over=is_over)


def _steer(searches: list[str], verb: str, as_json: bool, server: str | None, token: str | None) -> None:
    with documents(server, token) as nas:
        found = [nas.act("searches", search, verb=verb) for search in searches]
    if as_json:
        print_json(found)
        return
    for one in found:
        typer.echo(f"{one['id']}  {one['state']}  (wanted: {one['desired_state']})")


def _fail_unless_completed(search: SearchResource) -> None:
    if search.state is not SearchState.COMPLETED:
        raise HilnasError(f"search {search.id} is {search.state.value}: {search.reason or 'no reason was given'}")
