"""``hilnas artifacts``: the scrub of the server's stored files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli.models.model_files import fetch
from hilnas.cli.options import (
    JsonOption,
    LimitOption,
    OwnerOption,
    ServerOption,
    TokenOption,
    connect,
    documents,
    print_file,
    print_json,
)
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.cli.terminal import make_console
from hilnas.cli.working import transferring, working
from nas_engine.domain.uncertainty import value_text
from server.artifacts.artifact import ScrubState

app = new_app("List, fetch, store and check the files that the server has stored.")
_progress = make_console(stderr=True)
_POLL_S = 1.0


@app.command("list")
def list_artifacts(
    owner: OwnerOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List stored files, newest first."""
    with documents(server, token) as nas:
        found = list(nas.items("artifacts", params={"owner": owner}, limit=limit))
    columns = (
        ("sha256", listings.member("sha256")),
        ("size", lambda one: value_text(one["size_bytes"], "bytes", digits=4)),
        ("type", listings.member("media_type")),
        ("stored", listings.time("created_at")),
        ("owner", listings.owner),
    )
    listings.show(found, columns, as_json=as_json)


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="File to store.")],
    media_type: Annotated[str, typer.Option("--type", help="Media type.")] = "application/octet-stream",
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Store a file under the SHA-256 of its content, which is printed."""
    with connect(server, token) as nas, transferring(_progress, file.name, file.stat().st_size) as on_bytes:
        stored = nas.artifacts.upload(file, media_type, on_bytes=on_bytes)
    print_json(stored) if as_json else typer.echo(stored.sha256)


@app.command()
def download(
    sha256: Annotated[str, typer.Argument(metavar="SHA256", help="Digest of the file, or its first digits.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write to [the digest, here].")] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Fetch a stored file, and check that it is what its digest says."""
    path = out or Path(sha256)
    with connect(server, token) as nas:
        fetch(nas, sha256, path)
    print_file(path, as_json=as_json)


@app.command()
def scrub(
    start: Annotated[bool, typer.Option(help="Start one and wait for it; else the last report is shown.")] = True,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Read every stored file again; the exit status is 1 where any is corrupted or missing."""
    with connect(server, token) as nas:
        report = nas.artifacts.start_scrub() if start else nas.artifacts.scrub_report()
        with working(_progress) as say:
            while start and report.state is ScrubState.RUNNING:
                if _progress.is_terminal:
                    say(f"{report.num_checked:,} files, {value_text(report.checked_bytes, 'bytes', digits=4)} checked")
                time.sleep(_POLL_S)
                report = nas.artifacts.scrub_report()
    if as_json:
        print_json(report)
    else:
        typer.echo(f"{report.state.value}: {report.num_checked} artifacts, {report.checked_bytes} bytes")
        if report.error:
            typer.echo(report.error)
        for what, names in (
            ("corrupted", report.corrupted),
            ("missing", report.missing),
            ("orphaned", report.orphaned),
        ):
            for name in names:
                typer.echo(f"{what} {name}")
    if report.num_corrupted or report.num_missing or report.state is ScrubState.FAILED:
        raise typer.Exit(1)
