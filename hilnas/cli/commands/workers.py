"""``hilnas workers``: which workers there are, whether they live, and what they do."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from hilnas.cli.options import JsonOption, ServerOption, TokenOption, documents
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.client.documents import Document

app = new_app("List workers: whether they live, what they do.", default_verb="list")


@app.command("list")
def list_workers(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """List the workers, which search, train, evaluate and convert; those that died stay on the list for a day."""
    with documents(server, token) as nas:
        found = list(nas.items("workers"))
    listings.show(found, _COLUMNS, as_json=as_json)
    if not as_json and not any(one["is_alive"] for one in found):
        typer.echo("no worker lives: start one with 'hilnas worker'")


def _ago(worker: Document) -> str:
    beat = datetime.fromisoformat(worker["beat_at"])
    return f"{max(0.0, (datetime.now(UTC) - beat).total_seconds()):.0f}"


_COLUMNS: tuple[listings.Column, ...] = (
    ("worker", listings.member("id")),
    ("host", listings.member("host")),
    ("pid", listings.member("pid")),
    ("version", listings.member("version")),
    ("state", lambda one: "alive" if one["is_alive"] else "dead" if one["left_at"] is None else "stopped"),
    ("last heard of [s ago]", _ago),
    ("does", lambda one: ", ".join(f"{job['kind']} {job['id']}" for job in one["jobs"]) or "nothing"),
)
