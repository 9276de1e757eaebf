"""``hilnas certs``: certificates for the agents' endpoint, signed by an authority of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli.options import JsonOption, print_json
from hilnas.cli.runner import new_app
from hilnas.client.errors import HilnasError
from server.bootstrap.certificates import Authority, CertificateError, Pair

app = new_app("Make certificates for the agents' endpoint.", default_verb="create")


@app.command()
def create(
    folder: Annotated[
        Path, typer.Argument(file_okay=False, help="Where the files are kept; an authority there is used.")
    ],
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Name or address agents dial; give it once each [localhost].")
    ] = None,
    client: Annotated[
        list[str] | None, typer.Option("--client", help="Also a certificate for this agent (mutual TLS).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make ca.pem, server.pem and server.key, and a pair for every --client."""
    try:
        authority = Authority(folder)
        server = authority.issue_server(host or ["localhost", "127.0.0.1", "::1"])
        clients = [authority.issue_client(name) for name in client or ()]
    except CertificateError as error:
        raise HilnasError(str(error)) from error
    if as_json:
        print_json(
            {"authority": _files(authority.pair), "server": _files(server), "clients": [_files(one) for one in clients]}
        )
        return
    typer.echo(f"authority  {authority.pair.certificate}  (agents: --ca; keep {authority.pair.key} to yourself)")
    _print("server", server, "HILNAS_GRPC_CERT and HILNAS_GRPC_KEY")
    for pair in clients:
        _print("client", pair, "agents: --cert and --key; server: HILNAS_GRPC_CLIENT_CA=ca.pem")


def _files(pair: Pair) -> dict[str, str]:
    return {"certificate": str(pair.certificate), "key": str(pair.key)}


def _print(what: str, pair: Pair, use: str) -> None:
    typer.echo(f"{what:9}  {pair.certificate}  {pair.key}  ({use})")
