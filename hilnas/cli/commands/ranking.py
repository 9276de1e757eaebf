"""``hilnas ranking``: does a supernet rank architectures as stand-alone training does?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hilnas.cli.options import (
    JsonOption,
    LimitOption,
    OwnerOption,
    ServerOption,
    TokenOption,
    connect,
    owner_name,
    print_json,
)
from hilnas.cli.progress import entries_table, follow_study, study_line
from hilnas.cli.runner import new_app, run
from hilnas.cli.spec_files import read_spec_file
from hilnas.cli.terminal import make_console
from hilnas.client.errors import HilnasError
from server.studies.schemas import RankingStudyResource
from server.studies.states import StudyState

app = new_app("Compare the order of a supernet with that of stand-alone training.")
_console = make_console()
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Id, study_...")]


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="Spec as JSON or YAML; - reads standard input.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show it until it ends.")] = False,
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
        ended = follow_study(nas, study.id, _console)
        _console.print(entries_table(nas.ranking_studies.entries(study.id)))
    if ended.state is not StudyState.COMPLETED:
        raise HilnasError(f"study {ended.id} is {ended.state.value}: {ended.reason or 'no reason was given'}")


@app.command("list")
def list_studies(
    state: Annotated[list[StudyState] | None, typer.Option(help="Any of these.")] = None,
    owner: OwnerOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """List studies, newest first."""
    with connect(server, token) as nas:
        found = list(nas.ranking_studies.all(states=[one.value for one in state or ()], owner=owner, limit=limit))
    if as_json:
        print_json(found)
        return
    table = Table("id", "name", "supernet", "how it stands", "owner")
    for study in found:
        table.add_row(study.id, study.name, study.supernet_id, study_line(study), owner_name(study.owner))
    _console.print(table)


@app.command()
def show(
    study_id: StudyArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show both taus, and both accuracies of every architecture."""
    with connect(server, token) as nas:
        study = nas.ranking_studies.get(study_id)
        entries = list(nas.ranking_studies.entries(study_id))
    if as_json:
        print_json(study)
        return
    _print_study(study)
    _console.print(entries_table(entries))


@app.command()
def cancel(study_id: StudyArgument, server: ServerOption = None, token: TokenOption = None) -> None:
    """End a study; it cannot be resumed, and what is done stays."""
    with connect(server, token) as nas:
        _print_study(nas.ranking_studies.cancel(study_id))


def main(argv: Sequence[str]) -> int:
    """Entry of ``hilnas ranking``."""
    return run(app, "ranking", argv)


def _print_study(study: RankingStudyResource) -> None:
    typer.echo(f"{study.id}  {study_line(study)}")
    if study.reason:
        typer.echo(study.reason)
