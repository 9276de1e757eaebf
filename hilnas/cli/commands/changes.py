"""``hilnas changes``: who did what to which thing."""

from __future__ import annotations

from typing import Annotated

import typer

from hilnas.cli.options import JsonOption, LimitOption, ServerOption, TokenOption, documents
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.client.documents import Document
from server.access.changes.change import ActorKind, ChangeAction, SubjectKind

app = new_app("List who did what to searches, trainings, devices, tokens and the like.", default_verb="list")


@app.command("list")
def list_changes(
    actor: Annotated[
        str | None,
        typer.Option(help="Who acted: a principal by name or id, a token by id, `server` or `anonymous`."),
    ] = None,
    actor_kind: Annotated[list[ActorKind] | None, typer.Option(help="What acted; any of these.")] = None,
    kind: Annotated[list[SubjectKind] | None, typer.Option(help="What it was done to; any of these kinds.")] = None,
    subject: Annotated[str | None, typer.Option(help="The one thing it was done to, by its id.")] = None,
    action: Annotated[list[ChangeAction] | None, typer.Option(help="What was done; any of these.")] = None,
    since: Annotated[str | None, typer.Option(help="At this time or later, e.g. 2026-03-01T12:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List changes, newest first: of what is yours and what you did yourself; an admin sees all."""
    params = {
        "actor": actor,
        "actor_kind": [one.value for one in actor_kind or ()],
        "kind": [one.value for one in kind or ()],
        "subject_id": subject,
        "action": [one.value for one in action or ()],
        "since": since,
        "until": until,
    }
    with documents(server, token) as nas:
        found = list(nas.items("changes", params=params, limit=limit))
    listings.show(found, _COLUMNS, as_json=as_json)


def _who(change: Document) -> str:
    name, shown = str(change["actor"]["name"]), str(change["actor"]["token_name"])
    return name if shown in ("", name) else f"{name} ({shown})"


def _details(change: Document) -> str:
    return str(change["reason"]) or ", ".join(change["members"]) or "-"


_COLUMNS: tuple[listings.Column, ...] = (
    ("when", listings.time("created_at")),
    ("who", _who),
    ("as", lambda one: ", ".join(one["actor"]["roles"]) or one["actor"]["kind"]),
    ("did", listings.member("action")),
    ("to", listings.member("kind")),
    ("id", lambda one: one["subject_id"] or "-"),
    ("name", lambda one: one["subject_name"] or "-"),
    ("members, or why", _details),
)
