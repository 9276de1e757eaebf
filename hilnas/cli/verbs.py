"""Verbs that mean the same of several nouns, made for what each noun is about.

Annotations are not deferred here: typer reads them from functions that are made for one noun.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from hilnas.cli.completions import Complete, names_of
from hilnas.cli.options import (
    FindOption,
    JsonOption,
    LabelOption,
    LimitOption,
    OwnerOption,
    ServerOption,
    TokenOption,
    connect,
    documents,
    print_json,
)
from hilnas.cli.shown import listings
from hilnas.cli.terminal import make_console

if TYPE_CHECKING:
    from hilnas.client.client import Hilnas
    from hilnas.client.core.calls import Blocking
    from hilnas.client.training_resources import Network, Supernet


@dataclass(frozen=True, slots=True)
class About:
    """What a noun is about.

    Attributes:
        path: of its resources in the API.
        name: for people, e.g. ``network``.
        prefix: of its ids.
    """

    path: str
    name: str
    prefix: str

    @property
    def metavar(self) -> str:
        """Its place in a usage line."""
        return self.name.upper()

    @property
    def complete(self) -> Complete:
        """What shells complete there."""
        return names_of(self.path)

    @property
    def help(self) -> str:
        """What may stand in that place."""
        return f"Name, id ({self.prefix}_...), or a part of the id."


def add_get(app: typer.Typer, about: About) -> Callable[[str, bool, str | None, str | None], None]:
    """Add ``get``: one resource as the API has it. Returns it, for `show` with ``--json``."""

    @app.command("get", help=f"Print a {about.name} as JSON.")
    def get(
        reference: Annotated[
            str, typer.Argument(metavar=about.metavar, help=about.help, autocompletion=about.complete)
        ],
        _: JsonOption = True,
        server: ServerOption = None,
        token: TokenOption = None,
    ) -> None:
        with documents(server, token) as nas:
            print_json(nas.get(about.path, reference))

    return get


def add_training_verbs(
    app: typer.Typer,
    about: About,
    read: "Callable[[Hilnas, str], Supernet[Blocking] | Network[Blocking]]",
    origin: "Callable[[Hilnas, str], Mapping[str, str]]" = lambda _, __: {},
) -> None:
    """Add what supernets and networks have in common, which both are trained: list, show, get, curve, follow, cancel.

    Args:
        read: one of them, as the SDK has it.
        origin: where its weights come from, by name, if they were not trained here.
    """

    @app.command("list", help=f"List {about.path}, newest first.")
    def list_trainings(
        state: Annotated[list[str] | None, typer.Option(help="Any of these: queued, training, ready, ...")] = None,
        space: Annotated[str | None, typer.Option(help="Of this search space.")] = None,
        dataset: Annotated[str | None, typer.Option(help="Trained on this data set.")] = None,
        find: FindOption = None,
        label: LabelOption = None,
        owner: OwnerOption = None,
        limit: LimitOption = 50,
        as_json: JsonOption = False,
        server: ServerOption = None,
        token: TokenOption = None,
    ) -> None:
        filters = {"state": state or [], "space": space, "dataset": dataset, "owner": owner}
        params = {**filters, "find": find, "label": label or []}
        with documents(server, token) as nas:
            found = list(nas.items(about.path, params=params, limit=limit))
        listings.show(found, listings.TRAININGS, as_json=as_json)

    @app.command("show", help=f"Show how the training of a {about.name} stands.")
    def show(
        reference: Annotated[
            str, typer.Argument(metavar=about.metavar, help=about.help, autocompletion=about.complete)
        ],
        as_json: JsonOption = False,
        server: ServerOption = None,
        token: TokenOption = None,
    ) -> None:
        if as_json:
            get(reference, True, server, token)
            return
        from hilnas.cli.progress import training_view

        with connect(server, token) as nas:
            make_console().print(training_view(read(nas, reference), origin=origin(nas, reference)))

    get = add_get(app, about)
    _add_curve(app, about)

    @app.command("follow", help=f"Show the training of a {about.name} until it ends.")
    def follow(
        reference: Annotated[
            str, typer.Argument(metavar=about.metavar, help=about.help, autocompletion=about.complete)
        ],
        as_json: JsonOption = False,
        server: ServerOption = None,
        token: TokenOption = None,
    ) -> None:
        from hilnas.cli.specs.trainings import follow_to_the_end

        with connect(server, token) as nas:
            ended = follow_to_the_end(nas, read(nas, reference), as_json=as_json)
        print_json(ended) if as_json else typer.echo(ended.id)

    @app.command("cancel", help="Stop trainings; they cannot be resumed.")
    def cancel(
        references: Annotated[
            list[str],
            typer.Argument(metavar=f"{about.metavar}...", help="Names or ids.", autocompletion=about.complete),
        ],
        as_json: JsonOption = False,
        server: ServerOption = None,
        token: TokenOption = None,
    ) -> None:
        with documents(server, token) as nas:
            found = [nas.act(about.path, one, verb="cancel") for one in references]
        if as_json:
            print_json(found)
            return
        for stopped in found:
            typer.echo(f"{stopped['id']}  {stopped['state']}  (wanted: {stopped['desired_state']})")


def _add_curve(app: typer.Typer, about: About) -> None:
    """Add ``curve``: what a training reported as it went on."""

    @app.command(
        "curve", help=f"Show the learning curve of a {about.name}: loss, accuracy, rate and throughput by step."
    )
    def curve(
        reference: Annotated[
            str, typer.Argument(metavar=about.metavar, help=about.help, autocompletion=about.complete)
        ],
        max_points: Annotated[
            int | None,
            typer.Option("--max-points", "-n", min=1, max=2000, help="Of it, evenly spread [20; with --json 500]."),
        ] = None,
        as_json: JsonOption = False,
        server: ServerOption = None,
        token: TokenOption = None,
    ) -> None:
        wanted = max_points or (500 if as_json else 20)
        with documents(server, token) as nas:
            found = nas.get(about.path, reference, "curve", params={"max_points": wanted})
        if as_json:
            print_json(found)
            return
        points = found["points"]
        listings.show(points, listings.LEARNING, as_json=False, empty="Nothing has been reported of it yet.")
        if len(points) < found["num_kept"]:
            typer.echo(f"{len(points)} of the {found['num_kept']} points that are kept; --max-points shows more")
