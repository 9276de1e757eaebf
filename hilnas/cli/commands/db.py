"""``hilnas db``: the server's database, looked at without the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli.options import JsonOption, print_json
from hilnas.cli.runner import new_app
from hilnas.cli.working import busy
from hilnas.client.errors import HilnasError

app = new_app("Check the server's database.")


@app.callback()
def _group() -> None:
    """Keep the verb's name where it is the only one."""


@app.command()
def check(
    home: Annotated[Path | None, typer.Option(help="Folder of the server's state.")] = None,
    database_url: Annotated[
        str | None, typer.Option(help="E.g. postgresql+psycopg://user@host/name [SQLite in the home folder].")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read the whole database; the exit status is 1 where anything is damaged. A server may run meanwhile."""
    # Loaded when it runs: help and completion need no server framework.
    from server.bootstrap.schema import faults_of_database
    from server.bootstrap.settings import Settings

    given = {"home": home, "database_url": database_url}
    try:
        settings = Settings.load({name: value for name, value in given.items() if value is not None})
        with busy("reading the whole database"):
            faults = faults_of_database(settings)
    except (OSError, ValueError) as error:
        raise HilnasError(str(error)) from error
    if as_json:
        print_json({"ok": not faults, "faults": list(faults)})
    else:
        typer.echo("\n".join(faults) or "the database is whole")
    if faults:
        raise typer.Exit(1)
