"""``hilnas tokens``: access tokens for people and programs, enrolment tokens for boards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from hilnas.cli.options import JsonOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.runner import new_app, run
from hilnas.cli.terminal import make_console
from server.access.token import Role

app = new_app("Make, list and revoke access tokens.")
_console = make_console()
_DAY_S = 86_400


@app.command("list")
def list_tokens(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """List tokens, oldest first."""
    with connect(server, token) as nas:
        found = list(nas.tokens.all())
    if as_json:
        print_json(found)
        return
    table = Table("id", "name", "prefix", "roles", "created", "expires", "last used", "revoked")
    for one in found:
        times = (one.created_at, one.expires_at, one.last_used_at, one.revoked_at)
        texts = ["-" if time is None else time.isoformat(timespec="seconds") for time in times]
        table.add_row(one.id, one.name, one.prefix, ", ".join(one.roles), *texts)
    _console.print(table)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="For people.")],
    role: Annotated[list[Role] | None, typer.Option(help="What it may do [default: viewer].")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Until it expires [default: never].")] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Make a token; it is printed this once."""
    roles = role or [Role.VIEWER]
    with connect(server, token) as nas:
        made = nas.tokens.create(name, roles, None if days is None else days * _DAY_S)
    print_json(made) if as_json else typer.echo(made.secret)


@app.command()
def enrolment(
    name: Annotated[str, typer.Argument(help="For people.")],
    max_uses: Annotated[int | None, typer.Option(min=1, help="Boards that may enrol with it.")] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Make a token that lets boards enrol; it is printed this once."""
    with connect(server, token) as nas:
        made = nas.tokens.create_enrolment(name, max_uses)
    print_json(made) if as_json else typer.echo(made.secret)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="Id, tok_...")],
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Let a token be used no more."""
    with connect(server, token) as nas:
        nas.tokens.revoke(token_id)


def main(argv: Sequence[str]) -> int:
    """Entry of ``hilnas tokens``."""
    return run(app, "tokens", argv)
