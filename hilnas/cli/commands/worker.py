"""``hilnas worker``: the process that searches and trains."""

from __future__ import annotations

import importlib

import typer

from hilnas.cli.runner import new_app

app = new_app("Run the process that searches, trains, evaluates and converts.", default_verb="run")
_PROCESS = "server.bootstrap.worker"  # by name: it brings torch, which no other command may load


@app.command()
def run() -> None:
    """Take work from the server's database until SIGTERM or SIGINT; its settings are environment variables."""
    raise typer.Exit(importlib.import_module(_PROCESS).main())
