"""``hilnas candidates``: a candidate's model, the evidence behind it, and what each change of it would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from hilnas.cli.models.explanations import explanation_view, measure_neighbours
from hilnas.cli.models.model_files import FetchedFormat, fetch, fetch_bundle, fetch_retrained_bundle, model_of, target
from hilnas.cli.models.retraining import retrain
from hilnas.cli.options import (
    CandidateArgument,
    JsonOption,
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
    from hilnas.cli.shown.fronts import column_title, value_cell

    with connect(server, token) as nas:
        found = nas.searches.candidate(candidate)
    table = Table(show_header=False)
    named = (
        ("id", found.id),
        ("short id", found.short_id),
        ("architecture", found.arch_id),
        ("search", found.search_id),
        ("state", found.state_text),
    )
    for title, text in named:
        table.add_row(title, escape(str(text)))
    if found.reason and not found.is_cancelled:
        table.add_row("why", escape(found.reason))
    for one in found.values:
        table.add_row(column_title(one.name, one.unit, one.column), value_cell(one))
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
    format: Annotated[FetchedFormat, typer.Option("--format", help="Which file.")] = FetchedFormat.ONNX,
    out: OutOption = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Fetch a candidate's model with the supernet's weights; it is exported first where it was not yet."""
    with connect(server, token) as nas:
        model = model_of(nas, candidate, format)
        path = target(out, model.file_name or f"{candidate}-{model.dtype}.{model.format}")
        fetch(nas, model.sha256 or "", path)
    print_file(path, as_json=as_json)


@app.command()
def bundle(
    candidate: CandidateArgument,
    out: OutOption = None,
    retrained: Annotated[
        bool, typer.Option("--retrained", help="Of the network that `candidates retrain` made of it last.")
    ] = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Fetch the signed evidence behind a candidate: models, raw samples, circumstances, spec."""
    with connect(server, token) as nas:
        fetched = fetch_retrained_bundle if retrained else fetch_bundle
        print_file(fetched(nas, candidate, out), as_json=as_json)


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
    measure: Annotated[
        bool, typer.Option("--measure", help="Have changes that nothing measured yet measured first, in spare time.")
    ] = False,
    max_networks: Annotated[
        int, typer.Option(min=1, max=50, help="Most changes that --measure has measured; the largest expected first.")
    ] = 8,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Say where the microseconds go, and what each single change of the architecture would do to them and to accuracy.

    Times per block are those of the runtime's profiler, where a board told them; of a compiler's cycle table they are
    labelled simulated.
    """
    with connect(server, token) as nas:
        if measure:
            measure_neighbours(nas, candidate, max_networks)
        found, layers = nas.candidates.explain(candidate), nas.candidates.layers(candidate)
    if as_json:
        typer.echo(json.dumps({**found.model_dump(mode="json"), "layers": layers.model_dump(mode="json")}))
        return
    _console.print(explanation_view(candidate, found, layers, limit))
