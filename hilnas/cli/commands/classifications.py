"""``hilnas classifications``: what models answered to images on boards, and what is lost against float."""

from __future__ import annotations

from typing import Annotated

import typer

from hilnas.cli.completions import names_of
from hilnas.cli.options import JsonOption, LimitOption, ServerOption, TokenOption, documents, print_json
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.client.documents import Document

app = new_app("Query what models answered to images on boards.")


@app.command("list")
def list_classifications(
    limit: LimitOption = 50, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List classifications, newest first."""
    with documents(server, token) as nas:
        found = list(nas.items("classifications", limit=limit))
    listings.show(found, _COLUMNS, as_json=as_json)


@app.command()
def get(
    classification_id: Annotated[
        str,
        typer.Argument(
            metavar="CLASSIFICATION", help="Id (cls_...), or a part of it.", autocompletion=names_of("classifications")
        ),
    ],
    _: JsonOption = True,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Print a classification as JSON, with the class it gave to every image."""
    with documents(server, token) as nas:
        print_json(nas.get("classifications", classification_id))


def _top1(found: Document) -> str:
    from nas_engine.domain.uncertainty import Interval, number_text, shown_in

    return number_text(shown_in(Interval.of_error(found["top1"], found["standard_error"]), "fraction"))


_COLUMNS: tuple[listings.Column, ...] = (
    ("id", listings.member("id")),
    ("device type", listings.member("device_type")),
    ("kind", listings.member("kind")),
    ("dtype", listings.member("dtype")),
    ("images", listings.member("num_images")),
    ("top-1 [%]", _top1),
    ("created", listings.time("created_at")),
)
