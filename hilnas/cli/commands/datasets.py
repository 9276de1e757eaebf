"""``hilnas datasets``: those of a server, and a look at one on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from hilnas.cli.completions import names_of
from hilnas.cli.exit_status import ExitStatus
from hilnas.cli.options import JsonOption, ServerOption, TokenOption, documents, print_json
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.cli.terminal import make_console
from hilnas.cli.working import working
from hilnas.client.documents import Document
from hilnas.client.errors import SpecFileError
from nas_engine.domain.text import did_you_mean
from nas_engine.settings.kinds.datasets import SourceKind

if TYPE_CHECKING:
    from nas_engine.training.data.checking import CheckedImages, DatasetReport

app = new_app("List a server's data sets; check one on this machine.")
_console = make_console()
_progress = make_console(stderr=True)
MAX_SIZES = 5


@app.command("list")
def list_datasets(as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None) -> None:
    """List the data sets of a server, which supernets can be trained on."""
    with documents(server, token) as nas:
        found = list(nas.items("datasets"))
    listings.show(found, _COLUMNS, as_json=as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a data set of the server.", autocompletion=names_of("datasets"))],
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Show a data set of a server."""
    with documents(server, token) as nas:
        known = {str(one["name"]): one for one in nas.items("datasets")}
    if name not in known:
        raise SpecFileError(
            f"the server has no data set {name!r}: it has {', '.join(known)}{did_you_mean(name, known)}"
        )
    print_json(known[name]) if as_json else listings.show_one(known[name], _COLUMNS)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="Name of a data set of the server.", autocompletion=names_of("datasets"))],
    _: JsonOption = True,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Print a data set of a server as JSON."""
    show(name, True, server, token)


@app.command()
def check(
    data: Annotated[Path, typer.Argument(metavar="DIR", exists=True, help="Folder or file of the data set.")],
    format: Annotated[
        SourceKind | None, typer.Option(help="Format of the data set [as the names of its files say].")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="That a training will take: there must be as many training images.")
    ] = None,
    validation_fraction: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the training images that is held out.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Of that split.")] = 0,
    sheet: Annotated[Path, typer.Option(help="PNG to write the contact sheet to.")] = Path("contact_sheet.png"),
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Write no contact sheet.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read a data set as a worker will: images of each class, sizes, duplicates between parts, and all that is wrong.

    Ends with 1 where a worker would refuse it.
    """
    # The engine's own reading: the one verb of these that needs the extra `engine`.
    from nas_engine.training.data.checking import check_images, open_images, recognised_kind, unreadable
    from nas_engine.training.data.contact_sheet import MAX_ROWS, contact_sheet
    from nas_engine.training.data.problems import Problems
    from nas_engine.training.data.source import DatasetSource

    kind = format or recognised_kind(data)
    source = DatasetSource(kind=kind, path=str(data), validation_fraction=validation_fraction, seed=seed)
    problems = Problems(str(data))
    images: CheckedImages | None = None
    with working(_progress) as say:
        if _progress.is_terminal:
            say(f"{data} is being read")
        with problems.gathered():
            images = open_images(source, problems)
        report = unreadable(kind.value, problems) if images is None else check_images(images, problems, batch_size)
        if images is not None and not no_sheet:
            contact_sheet(images).save(sheet, format="PNG")
    drawn = None if images is None or no_sheet else sheet
    if as_json:
        document = {**asdict(report), "num_images": report.num_images, "sheet": None if drawn is None else str(drawn)}
        typer.echo(json.dumps(document))
    else:
        _print(data, report)
        if drawn is not None:
            rest = f", the first {MAX_ROWS} classes" if len(report.classes) > MAX_ROWS else ""
            _say(f"contact sheet: {drawn}{rest}")
    if report.num_problems:
        raise typer.Exit(ExitStatus.FAILED)


def _print(data: Path, report: DatasetReport) -> None:
    _say(f"{data}: {report.kind}, {report.num_images} images, {len(report.classes)} classes")
    if report.counts:
        table = Table("class", *report.counts)
        for label, name in enumerate(report.classes):
            table.add_row(escape(name), *(str(counts[label]) for counts in report.counts.values()))
        table.add_row("in all", *(str(sum(counts)) for counts in report.counts.values()))
        _console.print(table)
    if report.sizes:
        shown = ", ".join(f"{s.width}x{s.height} ({s.num_images})" for s in report.sizes[:MAX_SIZES])
        more = len(report.sizes) - MAX_SIZES
        _say(f"sizes: {shown}" + (f" and {more} more" if more > 0 else ""))
    _say(f"duplicates between parts: {report.num_duplicates}")
    for one in report.duplicates:
        _say(f"- {one.first} = {one.second}" + ("" if one.same_class else ", of another class"))
    for notice in report.notices:
        _say(notice)
    _say(f"problems: {report.num_problems}")
    for problem in report.problems:
        _say(f"- {problem}")
    if (more := report.num_problems - len(report.problems)) > 0:
        _say(f"- and {more} more")


def _say(text: str) -> None:
    """Print a line in which brackets and numbers are only that."""
    _console.print(text, markup=False, highlight=False, soft_wrap=True)


def _shape(dataset: Document) -> str:
    return "as the images are" if dataset["image_shape"] is None else "x".join(map(str, dataset["image_shape"]))


_COLUMNS: tuple[listings.Column, ...] = (
    ("name", listings.member("name")),
    ("title", listings.member("title")),
    ("classes", listings.member("num_classes")),
    ("image shape", _shape),
    ("training", listings.member("num_train_images")),
    ("validation", listings.member("num_validation_images")),
    ("test", listings.member("num_test_images")),
    ("kind", lambda one: one.get("kind") or "-"),
    ("package", lambda one: f"{one.get('package', '')} {one.get('package_version', '')}".strip() or "-"),
)
