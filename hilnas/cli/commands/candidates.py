"""``hilnas candidates``: a candidate's model, the evidence behind it, and what each change of it would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from hilnas.cli import listings
from hilnas.cli.models.model_files import ModelFormat, fetch, fetch_bundle, model_of, target
from hilnas.cli.models.retraining import retrain
from hilnas.cli.options import CandidateArgument, JsonOption, ServerOption, TokenOption, connect, documents, print_json
from hilnas.cli.runner import new_app
from hilnas.cli.terminal import make_console

if TYPE_CHECKING:
    from server.shipping.schemas import NeighbourResource

app = new_app("Fetch what a search found; retrain it; explain its latency.")
_console = make_console()
_progress = make_console(stderr=True)
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="File or folder to write to [the file's own name, here].")
]


@app.command()
def show(
    candidate: CandidateArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Show a candidate with its values, each with its interval."""
    if as_json:
        get(candidate, True, server, token)
        return
    from hilnas.cli.fronts import column_title, metric_cell, metric_unit

    with connect(server, token) as nas:
        found = nas.searches.candidate(candidate)
    table = Table(show_header=False)
    named = (
        ("id", found.id),
        ("short id", found.short_id),
        ("architecture", found.arch_id),
        ("search", found.search_id),
        ("state", found.state.value),
    )
    for title, text in named:
        table.add_row(title, escape(str(text)))
    for one in found.values:
        table.add_row(column_title(one.name, metric_unit(one.name)), metric_cell(one.name, one.value, one.uncertainty))
    _console.print(table)


@app.command()
def get(
    candidate: CandidateArgument, _: JsonOption = True, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Print a candidate as JSON."""
    with documents(server, token) as nas:
        print_json(nas.get("candidates", candidate))


app.command("retrain")(retrain)


@app.command()
def models(
    candidate: CandidateArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List a candidate's model files."""
    with documents(server, token) as nas:
        found = list(nas.items("candidates", candidate, "models"))
    listings.show(found, listings.MODELS, as_json=as_json)


@app.command()
def download(
    candidate: CandidateArgument,
    format: Annotated[ModelFormat, typer.Option("--format", help="Which file.")] = ModelFormat.ONNX,
    out: OutOption = None,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Fetch a candidate's model with the supernet's weights; it is exported first where it was not yet."""
    with connect(server, token) as nas:
        model = model_of(nas, candidate, format)
        path = target(out, model.file_name or f"{candidate}-{model.dtype}.{model.format}")
        fetch(nas, model.sha256 or "", path)
    typer.echo(path)


@app.command()
def bundle(
    candidate: CandidateArgument, out: OutOption = None, server: ServerOption = None, token: TokenOption = None
) -> None:
    """Fetch the signed evidence behind a candidate: models, raw samples, circumstances, spec."""
    with connect(server, token) as nas:
        typer.echo(fetch_bundle(nas, candidate, out))


@app.command("signing-key")
def signing_key(
    pin_it: Annotated[
        bool, typer.Option("--pin", help="Believe bundles that this server signs, from now on, on this machine.")
    ] = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Show the key that signs evidence bundles; the server printed its fingerprint when it started."""
    with connect(server, token) as nas:
        key = nas.candidates.evidence_key()
    if pin_it:
        from server.shipping.bundle.signing import pin

        _progress.print(f"pinned in {pin(key.fingerprint)}", highlight=False, soft_wrap=True)
    print_json(key) if as_json else typer.echo(f"{key.fingerprint}\n{key.public_key_pem}", nl=False)


@app.command()
def explain(
    candidate: CandidateArgument,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many changes.")] = 40,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Say what each single change of the architecture would do: microseconds and accuracy, and how that is known."""
    with connect(server, token) as nas:
        found = nas.candidates.explain(candidate)
    if as_json:
        print_json(found)
        return
    base = "unknown" if found.latency_us is None else f"{found.latency_us:.1f} us"
    _console.print(f"{candidate}: {base} on {found.device_type or 'no device'}", highlight=False)
    table = Table("change", escape("latency [us]"), "from", escape("top-1 [%]"), "MACs")
    for one in found.neighbours[:limit]:
        table.add_row(one.change, _difference(one), one.latency_source or "-", _accuracy(one), _percent(one))
    _console.print(table)
    for note in found.notes:
        _console.print(note, highlight=False)


def _difference(one: NeighbourResource) -> str:
    """Value and 95 % interval."""
    if one.latency_difference_us is None:
        return "-"
    return _with_interval(one.latency_difference_us, one.latency_interval_us)


def _accuracy(one: NeighbourResource) -> str:
    if one.top1_difference is None:
        return "-"
    return _with_interval(100 * one.top1_difference, None if one.top1_interval is None else 100 * one.top1_interval)


def _with_interval(difference: float, half_width: float | None) -> str:
    from nas_engine.domain.uncertainty import Interval, number_text

    ends = (None, None) if half_width is None else (difference - half_width, difference + half_width)
    return number_text(Interval(difference, *ends), signed=True)


def _percent(one: NeighbourResource) -> str:
    return "-" if one.macs_difference is None else f"{one.macs_difference:+,}"
