"""``hilnas tokens``: access tokens for people and programs, enrolment tokens for boards."""

from __future__ import annotations

from typing import Annotated

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.options import JsonOption, OwnerOption, ServerOption, TokenOption, connect, documents, print_json
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from nas_engine.domain.measuring.environment import DeviceClass
from server.access.token import Role

app = new_app("Make, list and revoke access tokens.")
_DAY_S = 86_400
TokenArgument = Annotated[
    str,
    typer.Argument(metavar="TOKEN", help="Name, id (tok_...), or a part of the id.", autocompletion=names_of("tokens")),
]


@app.command("list")
def list_tokens(
    owner: OwnerOption = None, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List tokens, oldest first."""
    with documents(server, token) as nas:
        found = list(nas.items("tokens", params={"owner": owner}))
    listings.show(found, _COLUMNS, as_json=as_json)


@app.command()
def show(
    token_id: TokenArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show a token; its secret was printed when it was made."""
    with documents(server, token) as nas:
        found = nas.get("tokens", token_id)
    print_json(found) if as_json else listings.show_one(found, _COLUMNS)


@app.command()
def get(token_id: TokenArgument, _: JsonOption = True, server: ServerOption = None, token: TokenOption = None) -> None:
    """Print a token as JSON."""
    show(token_id, True, server, token)


@app.command()
def enrolments(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """List the tokens that let devices enrol."""
    with documents(server, token) as nas:
        found = list(nas.items("enrolment-tokens"))
    listings.show(found, _ENROLMENTS, as_json=as_json)


@app.command()
def principals(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """List who holds tokens and owns what is made with them, oldest first."""
    with documents(server, token) as nas:
        found = list(nas.items("principals"))
    columns = (
        ("id", listings.member("id")),
        ("name", listings.member("name")),
        ("weight", lambda one: f"{one.get('weight', 1):g}"),
        ("created", listings.time("created_at")),
    )
    listings.show(found, columns, as_json=as_json)


@app.command()
def weigh(
    principal: Annotated[
        str,
        typer.Argument(metavar="PRINCIPAL", help="Its name or id (prin_...).", autocompletion=names_of("principals")),
    ],
    weight: Annotated[float, typer.Argument(metavar="WEIGHT", min=0.1, max=100.0, help="Of its jobs; 1 unless set.")],
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Set how much measuring a principal gets while others wait too: of weight 2, twice as much as one of 1."""
    with connect(server, token) as nas:
        weighed = nas.tokens.weigh(principal, weight)
    print_json(weighed) if as_json else typer.echo(f"{weighed.name} has weight {weighed.weight:g}")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the token for people, shown in lists.")],
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
    name: Annotated[str, typer.Argument(help="Name of the token for people, shown in lists.")],
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
    token_id: TokenArgument,
    enrolment: Annotated[bool, typer.Option("--enrolment", help="It is an enrolment token.")] = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Let a token be used no more."""
    with documents(server, token) as nas:
        nas.delete("enrolment-tokens" if enrolment else "tokens", token_id)
    if as_json:
        print_json({"revoked": token_id})


_COLUMNS: tuple[listings.Column, ...] = (
    ("id", listings.member("id")),
    ("name", listings.member("name")),
    ("prefix", listings.member("prefix")),
    ("roles", listings.member("roles")),
    ("owner", listings.owner),
    ("created", listings.time("created_at")),
    ("expires", listings.time("expires_at")),
    ("last used", listings.time("last_used_at")),
    ("revoked", listings.time("revoked_at")),
)
_ENROLMENTS: tuple[listings.Column, ...] = (
    ("id", listings.member("id")),
    ("name", listings.member("name")),
    ("class", listings.member("device_class")),
    ("device type", listings.member("device_type")),
    ("used", lambda one: f"{one['num_uses']} of {one['max_uses'] or 'any number'}"),
    ("owner", listings.owner),
    ("created", listings.time("created_at")),
    ("expires", listings.time("expires_at")),
    ("revoked", listings.time("revoked_at")),
)
