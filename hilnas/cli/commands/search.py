"""``hilnas search``: create, follow and read searches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hilnas.cli.fronts import answer_view, column_title, front_table, metric_cell
from hilnas.cli.options import (
    ExportFormat,
    FormatOption,
    JsonOption,
    LimitOption,
    OwnerOption,
    ServerOption,
    TokenOption,
    connect,
    owner_name,
    print_json,
    write_bytes,
)
from hilnas.cli.progress import algorithm_text, follow_search
from hilnas.cli.runner import EXIT_FAILED, new_app, run
from hilnas.cli.search_documents import SearchOptions, search_document
from hilnas.cli.terminal import make_console
from hilnas.cli.validation import validation_text
from hilnas.cli.warm_starts import warm_start_document
from hilnas.client.errors import HilnasError, SpecFileError
from nas_engine.domain.dominance import Dominance
from server.candidates.states import SearchState
from server.searches.presets import SEARCH_PRESETS
from server.searches.schemas import SearchResource

app = new_app("Create, follow and read searches.")
_console = make_console()
SearchArgument = Annotated[str, typer.Argument(metavar="SEARCH", help="Id, srch_..., a part of it, or a name.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Show it until it ends, then its front.")]

WarmStartOption = Annotated[
    list[str] | None,
    typer.Option(
        "--warm-start",
        metavar="SOURCE",
        help="Evaluate these first: measured (the database), srch_... (another search), @FILE (a list of "
        "architectures), or one architecture: a published name or a genotype. May be repeated.",
    ),
]


@app.command()
def create(
    file: Annotated[Path | None, typer.Argument(help="Spec as JSON or YAML; - reads standard input.")] = None,
    preset: Annotated[str | None, typer.Option(help="Search to start from; `--preset list` names them.")] = None,
    device_type: Annotated[str | None, typer.Option(help="Kind of board, instead of the spec's.")] = None,
    latency_table: Annotated[str | None, typer.Option(help="Table that DenseNAS pays with, srch_...")] = None,
    supernet: Annotated[str | None, typer.Option(help="A trained one, sup_..., instead of the spec's.")] = None,
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
        if validate_only:
            report = nas.searches.validate(spec)
            print_json(report) if as_json else typer.echo(validation_text(report))
            raise typer.Exit(0 if report.valid else EXIT_FAILED)
        search = nas.searches.create(spec)
        for warning in search.warnings:
            typer.echo(f"warning: {warning}", err=True)
        if (algorithm := algorithm_text(search.progress.report)) is not None:
            typer.echo(f"algorithm: {algorithm}", err=True)
        if not follow:
            print_json(search) if as_json else typer.echo(search.id)
            return
        ended = follow_search(nas, search.id, _console)
        _console.print(front_table(nas.searches.front(search.id)))
    _fail_unless_completed(ended)


@app.command("list")
def list_searches(
    state: Annotated[list[SearchState] | None, typer.Option(help="Any of these.")] = None,
    owner: OwnerOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List searches, newest first."""
    with connect(server, token) as nas:
        found = list(nas.searches.all(states=[one.value for one in state or ()], owner=owner, limit=limit))
    if as_json:
        print_json(found)
        return
    table = Table("id", "name", "state", "space", "evaluated", "front", "hypervolume", "owner")
    for search in found:
        progress = search.progress
        finished = progress.num_complete + progress.num_infeasible + progress.num_failed
        hypervolume = "-" if progress.hypervolume is None else f"{progress.hypervolume:.6g}"
        evaluated = f"{finished}/{progress.num_candidates}"
        front = str(progress.front_size)
        found_so_far = (evaluated, front, hypervolume, owner_name(search.owner))
        table.add_row(search.id, search.name, search.state.value, search.spec.space.id, *found_so_far)
    _console.print(table)


@app.command()
def get(search_id: SearchArgument, server: ServerOption = None, token: TokenOption = None) -> None:
    """Print a search as JSON."""
    with connect(server, token) as nas:
        print_json(nas.searches.get(search_id))


@app.command()
def follow(search_id: SearchArgument, server: ServerOption = None, token: TokenOption = None) -> None:
    """Show a search until it ends."""
    with connect(server, token) as nas:
        ended = follow_search(nas, search_id, _console)
        _console.print(front_table(nas.searches.front(search_id)))
    _fail_unless_completed(ended)


@app.command()
def pause(search_id: SearchArgument, server: ServerOption = None, token: TokenOption = None) -> None:
    """Ask no more candidates; what is in flight ends."""
    with connect(server, token) as nas:
        _print_state(nas.searches.pause(search_id))


@app.command()
def resume(search_id: SearchArgument, server: ServerOption = None, token: TokenOption = None) -> None:
    """Go on with a paused search."""
    with connect(server, token) as nas:
        _print_state(nas.searches.resume(search_id))


@app.command()
def cancel(search_id: SearchArgument, server: ServerOption = None, token: TokenOption = None) -> None:
    """End a search; it cannot be resumed."""
    with connect(server, token) as nas:
        _print_state(nas.searches.cancel(search_id))


@app.command()
def candidates(
    search_id: SearchArgument,
    order_by: Annotated[str, typer.Option(help="seq or a metric, see 'hilnas plugins metrics'; - descends.")] = "seq",
    where: Annotated[
        list[str] | None, typer.Option(help="A bound such as latency_us:le:8000.", metavar="METRIC:le|ge:NUMBER")
    ] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List the candidates of a search with their values."""
    with connect(server, token) as nas:
        found = list(nas.searches.candidates(search_id, bounds=where or (), order_by=order_by, limit=limit))
    if as_json:
        print_json(found)
        return
    values = ("top1 [%]", column_title("latency_us", "us"), "kind", "MACs", "params", "expected gain [%]", "flags")
    table = Table("candidate", "architecture", "state", *values)
    for one in found:
        latency = one.latency
        errors = {value.name: value.uncertainty for value in one.values}
        table.add_row(
            one.short_id or str(one.seq),
            one.arch_id[:12],
            one.state.value,
            metric_cell("top1", one.top1, errors.get("top1")),
            "-" if latency is None else metric_cell("latency_us", latency.p50_us, latency.standard_error_us),
            "-" if latency is None else latency.kind,
            "-" if one.macs is None else f"{one.macs:,}",
            "-" if one.params is None else f"{one.params:,}",
            "-" if one.expected_gain is None else f"{100 * one.expected_gain:.3g}",
            "" if latency is None else ", ".join(latency.flags),
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


@app.command()
def front(
    search_id: SearchArgument,
    dominance: Annotated[
        Dominance | None, typer.Option(help="Compare by values or by confidence intervals [default: as the spec says].")
    ] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Show the Pareto front."""
    with connect(server, token) as nas:
        found = nas.searches.front(search_id, dominance=None if dominance is None else dominance.value)
    print_json(found) if as_json else _console.print(front_table(found))


@app.command()
def answer(
    search_id: SearchArgument,
    latency_ms: Annotated[
        float | None, typer.Option(min=0, help="Most that the median latency may be, milliseconds.")
    ] = None,
    latency_us: Annotated[
        float | None, typer.Option(min=0, help="Most that the median latency may be, microseconds.")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Another bound, such as macs:le:3e8.", metavar="METRIC:le|ge:NUMBER")
    ] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Say which network to ship within a latency, what it beats, and how sure that is."""
    with connect(server, token) as nas:
        found = nas.searches.answer(search_id, latency_ms=latency_ms, latency_us=latency_us, bounds=where or ())
    print_json(found) if as_json else _console.print(answer_view(found), soft_wrap=False)
    if found.ship is None:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def events(
    search_id: SearchArgument,
    after: Annotated[int, typer.Option(min=0, help="Only events with a larger id.")] = 0,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Print events as JSON lines, from the start, until the search ends."""
    with connect(server, token) as nas:
        for event in nas.searches.events(search_id, after):
            typer.echo(json.dumps(event.data))


def main(argv: Sequence[str]) -> int:
    """Entry of ``hilnas search``."""
    return run(app, "search", argv)


def _print_state(search: SearchResource) -> None:
    typer.echo(f"{search.id}  {search.state.value}  (wanted: {search.desired_state.value})")


def _fail_unless_completed(search: SearchResource) -> None:
    if search.state is not SearchState.COMPLETED:
        raise HilnasError(f"search {search.id} is {search.state.value}: {search.reason or 'no reason was given'}")
