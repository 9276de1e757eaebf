"""``hilnas artifacts``: the scrub of the server's stored files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from hilnas.cli.options import JsonOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.runner import new_app, run
from server.artifacts.artifact import ScrubState

app = new_app("Check the files that the server has stored.")
_POLL_S = 1.0


@app.command()
def scrub(
    start: Annotated[bool, typer.Option(help="Start one and wait for it; else the last report is shown.")] = True,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Read every stored file again; the exit status is 1 where any is corrupted or missing."""
    with connect(server, token) as nas:
        report = nas.artifacts.start_scrub() if start else nas.artifacts.scrub_report()
        while start and report.state is ScrubState.RUNNING:
            time.sleep(_POLL_S)
            report = nas.artifacts.scrub_report()
    if as_json:
        print_json(report)
    else:
        typer.echo(f"{report.state.value}: {report.num_checked} artifacts, {report.checked_bytes} bytes")
        if report.error:
            typer.echo(report.error)
        for what, names in (
            ("corrupted", report.corrupted),
            ("missing", report.missing),
            ("orphaned", report.orphaned),
        ):
            for name in names:
                typer.echo(f"{what} {name}")
    if report.num_corrupted or report.num_missing or report.state is ScrubState.FAILED:
        raise typer.Exit(1)


@app.callback()
def _group() -> None:
    """Check the files that the server has stored."""


def main(argv: Sequence[str]) -> int:
    """Entry of ``hilnas artifacts``."""
    return run(app, "artifacts", argv)
