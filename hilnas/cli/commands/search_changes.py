"""Verbs of ``hilnas search`` that change one under way, or launch one again with changes."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.options import JsonOption, LimitOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.terminal import make_console
from hilnas.cli.verbs import About
from hilnas.client.errors import SpecFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.searches.amending.schemas import AmendmentResource

ABOUT = About("searches", "search", "srch")
SearchArgument = Annotated[str, typer.Argument(metavar=ABOUT.metavar, help=ABOUT.help, autocompletion=ABOUT.complete)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="A member of the spec by its path, such as stop.wall_time_s=3600; null takes it away. May be repeated.",
    ),
]


def amend(
    search_id: SearchArgument,
    assignments: SetOption = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Candidates in all; not below what was asked.")] = None,
    bound: Annotated[
        list[str] | None,
        typer.Option(help="A bound to change or add, such as latency_us:le:8000.", metavar="METRIC:le|ge:NUMBER"),
    ] = None,
    drop_bound: Annotated[
        list[str] | None,
        typer.Option(help="Metric that is not bounded any more.", metavar="METRIC", autocompletion=names_of("metrics")),
    ] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Change budget, constraints, stop rules, priority or labels of a search while it runs."""
    from hilnas.cli.specs.assignments import constraints_with, patch_of

    patch = patch_of(assignments or ())
    if budget is not None:
        if "budget" in patch:
            raise SpecFileError("--budget and --set budget... say the same: give one of them")
        patch["budget"] = {"num_candidates": budget}
    if (bound or drop_bound) and "constraints" in patch:
        raise SpecFileError("--bound and --drop-bound change the constraints that --set replaces: give one of them")
    if not patch and not bound and not drop_bound:
        raise SpecFileError("nothing to amend: give --budget, --bound, --drop-bound or --set")
    with connect(server, token) as nas:
        search = nas.searches.get(search_id)
        if bound or drop_bound:
            constraints = [one.model_dump(mode="json", exclude_none=True) for one in search.spec.constraints]
            patch["constraints"] = constraints_with(constraints, bound or (), drop_bound or ())
        amended = nas.searches.amend(search.id, patch, version=search.version)
        if as_json:
            print_json(amended)
            return
        made = list(nas.searches.amendments(search.id, limit=1)) if amended.version != search.version else []
    if not made:
        typer.echo(f"{amended.id}  nothing differs from how it is")
    for one in made:
        for line in _lines(one):
            typer.echo(line)


def amendments(
    search_id: SearchArgument,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List what was amended of a search, by whom and when, newest first."""
    from rich.table import Table

    with connect(server, token) as nas:
        found = list(nas.searches.amendments(search_id, limit=limit))
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo("Nothing was amended.")
        return
    table = Table("no.", "at [UTC]", "by", "change")
    for one in found:
        at = one.amended_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(str(one.seq), at, _by(one), "\n".join(_lines(one)))
    make_console().print(table)


def clone(
    search_id: SearchArgument,
    assignments: SetOption = None,
    train_again: Annotated[
        bool, typer.Option("--train-again", help="Train the supernet anew that was trained with it.")
    ] = False,
    as_launched: Annotated[
        bool, typer.Option("--as-launched", help="From the spec as it was launched, without its amendments.")
    ] = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Launch a search again from another, in any state, with changes."""
    from hilnas.cli.specs.assignments import patch_of

    with connect(server, token) as nas:
        search = nas.searches.clone(
            search_id, patch_of(assignments or ()), train_again=train_again, as_launched=as_launched
        )
    for warning in search.warnings:
        typer.echo(f"warning: {warning}", err=True)
    print_json(search) if as_json else typer.echo(search.id)


def _lines(amendment: AmendmentResource) -> Sequence[str]:
    from nas_engine.domain.json_value import canonical_json

    return [f"{one.pointer}: {canonical_json(one.old)} -> {canonical_json(one.new)}" for one in amendment.changes]


def _by(amendment: AmendmentResource) -> str:
    return "-" if amendment.principal is None else amendment.principal.name
