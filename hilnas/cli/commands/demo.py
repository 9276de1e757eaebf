"""``hilnas demo``: the whole product on this machine."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli.runner import new_app

app = new_app("Run the whole product on this machine.", default_verb="run")
_PROCESS = "server.bootstrap.demo.main"  # by name: the demo uses the commands, and stands above them


@app.command()
def run(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server and the boards up.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Search once more at random, same budget.")] = False,
    folder: Annotated[Path, typer.Option(help="Where everything is put.")] = Path("demo"),
    candidates: Annotated[int | None, typer.Option(min=1, help="Budget of the search.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of supernet training.")] = None,
) -> None:
    """Start a server, a worker and two boards; train a supernet, search, report."""
    demo = importlib.import_module(_PROCESS)
    options = demo.DemoOptions(keep=keep, compare=compare, folder=folder, candidates=candidates, epochs=epochs)
    raise typer.Exit(demo.main(options))
