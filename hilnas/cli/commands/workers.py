"""``hilnas workers``: which workers there are, whether they live, and what they do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import typer
from rich.markup import escape
from rich.table import Table

from hilnas.cli.options import JsonOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.runner import run
from hilnas.cli.terminal import make_console

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_console = make_console()


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def workers(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """List the workers, which search, train, evaluate and convert; those that died stay on the list for a day."""
    with connect(server, token) as nas:
        found = list(nas.workers.all())
    if as_json:
        print_json(found)
        return
    table = Table("worker", "host", "pid", "version", "state", escape("last heard of [s ago]"), "does")
    now = datetime.now(UTC)
    for one in found:
        state = "alive" if one.is_alive else "stopped" if one.left_at is not None else "dead"
        does = ", ".join(f"{job.kind.value} {job.id}" for job in one.jobs) or "nothing"
        ago = f"{max(0.0, (now - one.beat_at).total_seconds()):.0f}"
        table.add_row(one.id, one.host, str(one.pid), one.version, state, ago, does)
    _console.print(table)
    if not any(one.is_alive for one in found):
        typer.echo("no worker lives: start one with 'hilnas worker'")


def main(argv: Sequence[str]) -> int:
    """Entry of ``hilnas workers``."""
    return run(app, "workers", argv)
