"""``hilnas server``: the API process, and how one that runs is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli.options import JsonOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.runner import new_app
from hilnas.client.locating import locate

app = new_app("Run the REST API, the web pages and the agents' endpoint; ask for its state.", default_verb="run")


class LogLevel(StrEnum):
    """Least grave lines that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@app.command()
def run(
    home: Annotated[Path | None, typer.Option(help="Folder of database, artifacts and tokens.")] = None,
    database_url: Annotated[
        str | None, typer.Option(help="E.g. postgresql+psycopg://user@host/name [SQLite in the home folder].")
    ] = None,
    artifact_dir: Annotated[
        Path | None, typer.Option(help="Content-addressed store [artifacts in the home folder].")
    ] = None,
    http_host: Annotated[str | None, typer.Option("--host", help="Address of REST and pages [127.0.0.1].")] = None,
    http_port: Annotated[int | None, typer.Option("--port", help="Its port; 0 takes a free one [8080].")] = None,
    grpc_host: Annotated[str | None, typer.Option(help="Address that agents dial [127.0.0.1].")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Its port; 0 takes a free one [50051].")] = None,
    api_processes: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes that serve both addresses together, on PostgreSQL [1]."),
    ] = None,
    grpc_cert: Annotated[Path | None, typer.Option(help="Server certificate for agents: switches TLS on.")] = None,
    grpc_key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    grpc_client_ca: Annotated[Path | None, typer.Option(help="Ask agents for certificates of this authority.")] = None,
    insecure_no_auth: Annotated[
        bool | None, typer.Option("--insecure-no-auth", help="Everyone is admin; loopback addresses only.")
    ] = None,
    header_timeout_s: Annotated[float | None, typer.Option(help="Seconds for the headers of a request [15].")] = None,
    body_timeout_s: Annotated[
        float | None, typer.Option(help="Seconds for its body, more for large ones [30].")
    ] = None,
    trusted_proxies: Annotated[
        str | None, typer.Option(help="Addresses of TLS proxies whose X-Forwarded-* are believed.")
    ] = None,
    datasets_file: Annotated[Path | None, typer.Option(help="JSON file that registers data sets.")] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="Least grave lines that are logged [info].")] = None,
    log_json: Annotated[bool | None, typer.Option("--log-json", help="One JSON object per log line.")] = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Every option is an environment variable too, e.g. HILNAS_HTTP_PORT."""
    given = dict(locals())
    # Loaded when it runs: help and completion need no server framework.
    from server.bootstrap.serving import program

    raise typer.Exit(program.main({name: value for name, value in given.items() if value is not None}))


@app.command()
def status(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """Say which server commands speak to, where its address and the token were found, and its version."""
    place = locate(server, token)
    with connect(server, token) as nas:
        found = nas.version()
    if as_json:
        sources = {"url": place.url, "url_from": place.url_from, "token_from": place.token_from}
        print_json({**sources, **found.model_dump(mode="json")})
        return
    typer.echo(f"{place.url}  ({place.url_from})\ntoken: {place.token_from}\nhilnas {found.version}")
