"""``hilnas ranking``: does a supernet rank architectures as stand-alone training does?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilnas.cli.options import (
    FollowOption,
    JsonOption,
    LimitOption,
    OwnerOption,
    ServerOption,
    TokenOption,
    connect,
    documents,
    print_json,
)
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.cli.specs.spec_files import read_spec_file
from hilnas.cli.terminal import make_console
from hilnas.cli.verbs import About, add_get
from hilnas.client.documents import Document
from hilnas.client.errors import HilnasError
from nas_engine.domain.uncertainty import value_text

if TYPE_CHECKING:
    from hilnas.client.client import Hilnas
    from server.studies.schemas import RankingStudyResource


app = new_app("Compare the order of a supernet with that of stand-alone training.")
_console = make_console()
ABOUT = About("ranking-studies", "study", "study")
StudyArgument = Annotated[str, typer.Argument(metavar=ABOUT.metavar, help=ABOUT.help, autocompletion=ABOUT.complete)]


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="Spec as JSON or YAML; - reads standard input.")],
    follow: FollowOption = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Start a study."""
    spec = read_spec_file(file)
    with connect(server, token) as nas:
        study = nas.ranking_studies.create(spec)
        if not follow:
            print_json(study) if as_json else typer.echo(study.id)
            return
        _follow(nas, study.id, as_json)


@app.command("follow")
def follow_study(
    study_id: StudyArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show a study until it ends, then its architectures."""
    with connect(server, token) as nas:
        _follow(nas, nas.ranking_studies.get(study_id).id, as_json)


@app.command("list")
def list_studies(
    state: Annotated[list[str] | None, typer.Option(help="Any of these: queued, running, completed, ...")] = None,
    owner: OwnerOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List studies, newest first."""
    with documents(server, token) as nas:
        found = list(nas.items("ranking-studies", params={"state": state or [], "owner": owner}, limit=limit))
    listings.show(found, _COLUMNS, as_json=as_json)


@app.command()
def show(
    study_id: StudyArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show both taus, and both accuracies of every architecture."""
    if as_json:
        get(study_id, True, server, token)
        return
    from hilnas.cli.progress import entries_table

    with connect(server, token) as nas:
        study = nas.ranking_studies.get(study_id)
        entries = list(nas.ranking_studies.entries(study_id))
    _print_study(study)
    _console.print(entries_table(entries))


get = add_get(app, ABOUT)


@app.command()
def cancel(
    studies: Annotated[
        list[str], typer.Argument(metavar="STUDY...", help="Names or ids.", autocompletion=ABOUT.complete)
    ],
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """End studies; they cannot be resumed, and what is done stays."""
    with connect(server, token) as nas:
        found = [nas.ranking_studies.cancel(study) for study in studies]
    if as_json:
        print_json(found)
        return
    for study in found:
        _print_study(study)


def _follow(nas: Hilnas, study_id: str, as_json: bool) -> None:
    """Show a study until it ends. Raises HilnasError: it was not completed."""
    from hilnas.cli.progress import entries_table, follow_study
    from server.studies.states import StudyState

    ended = follow_study(nas, study_id, make_console(stderr=as_json))
    print_json(ended) if as_json else _console.print(entries_table(nas.ranking_studies.entries(study_id)))
    if ended.state is not StudyState.COMPLETED:
        raise HilnasError(f"study {ended.id} is {ended.state.value}: {ended.reason or 'no reason was given'}")


def _print_study(study: RankingStudyResource) -> None:
    from hilnas.cli.progress import study_line

    typer.echo(f"{study.id}  {study_line(study)}")
    if study.reason:
        typer.echo(study.reason)


def _taus(study: Document) -> str:
    result = study["result"]
    taus = (None, None) if result is None else (result["overall"]["kendall_tau"], result["local"]["kendall_tau"])
    return " ".join(value_text(tau, digits=3) for tau in taus)


_COLUMNS: tuple[listings.Column, ...] = (
    ("id", listings.member("id")),
    ("name", listings.member("name")),
    ("supernet", listings.member("supernet_id")),
    ("state", listings.member("state")),
    ("architectures", lambda one: f"{one['num_done']}/{one['num_entries']}"),
    ("failed", listings.member("num_failed")),
    ("tau, global and local", _taus),
    ("created", listings.time("created_at")),
    ("owner", listings.owner),
)
