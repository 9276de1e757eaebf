"""Options that name a server; importing them needs no more than typer."""

from __future__ import annotations

from typing import Annotated

import typer

ServerOption = Annotated[
    str | None,
    typer.Option("--server", envvar="HILNAS_URL", help="Address of the server [default: http://127.0.0.1:8080]."),
]
TokenOption = Annotated[
    str | None, typer.Option("--token", envvar="HILNAS_TOKEN", help="Access token.", show_envvar=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
