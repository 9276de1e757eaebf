"""``hilnas tokens``: access tokens for people and programs, enrolment tokens for boards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from hilnas.cli.options import JsonOption, OwnerOption, ServerOption, TokenOption, connect, owner_name, print_json
from hilnas.cli.runner import new_app, run
from hilnas.cli.terminal import make_console
from nas_engine.domain.measuring.environment import DeviceClass
from server.access.token import Role

app = new_app("Make, list and revoke access tokens.")
_console = make_console()
_DAY_S = 86_400


@app.command("list")
def list_tokens(
    owner: OwnerOption = None, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List tokens, oldest first."""
    with connect(server, token) as nas:
        found = list(nas.tokens.all(owner=owner))
    if as_json:
        print_json(found)
        return
    table = Table("id", "name", "prefix", "roles", "owner", "created", "expires", "last used", "revoked")
    for one in found:
        times = (one.created_at, one.expires_at, one.last_used_at, one.revoked_at)
        texts = ["-" if time is None else time.isoformat(timespec="seconds") for time in times]
        table.add_row(one.id, one.name, one.prefix, ", ".join(one.roles), owner_name(one.owner), *texts)
    _console.print(table)


@app.command()
def principals(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """List who holds tokens and owns what is made with them, oldest first."""
    with connect(server, token) as nas:
        found = list(nas.tokens.principals())
    if as_json:
        print_json(found)
        return
    table = Table("id", "name", "created")
    for one in found:
        table.add_row(one.id, one.name, one.created_at.isoformat(timespec="seconds"))
    _console.print(table)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="For people.")],
    role: Annotated[list[Role] | None, typer.Option(help="What it may do [default: viewer].")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Until it expires [default: never].")] = None,
    principal: Annotated[
        str | None, typer.Option(help="Who holds it and owns what is made with it [default: a new one of its name].")
    ] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Make a token; it is printed this once."""
    roles = role or [Role.VIEWER]
    with connect(server, token) as nas:
        made = nas.tokens.create(name, roles, None if days is None else days * _DAY_S, principal=principal)
    print_json(made) if as_json else typer.echo(made.secret)


@app.command()
def enrolment(
    name: Annotated[str, typer.Argument(help="For people.")],
    device_class: Annotated[
        DeviceClass, typer.Option("--class", help="The most that devices which enrol with it count as.")
    ] = DeviceClass.EMULATED,
    device_type: Annotated[
        str | None, typer.Option("--device-type", help="Only type it lets in; needed for boards, e.g. rk3588.")
    ] = None,
    max_uses: Annotated[int | None, typer.Option(min=1, help="Devices that may enrol with it [default: 10].")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Until it expires [default: 7].")] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Make a token that lets devices of one class enrol; it is printed this once."""
    with connect(server, token) as nas:
        made = nas.tokens.create_enrolment(
            name,
            max_uses,
            device_class=device_class.value,
            device_type=device_type,
            expires_in_s=None if days is None else days * _DAY_S,
        )
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
