"""``hilnas candidates``: a candidate's model, the evidence behind it, and what each change of it would do."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hilnas.cli.explanations import explanation_view, measure_neighbours
from hilnas.cli.options import JsonOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.runner import new_app, run
from hilnas.cli.terminal import make_console
from hilnas.client.client import Hilnas
from hilnas.client.errors import HilnasError
from server.jobs.states import JobState
from server.shipping.bundle.signing import pin
from server.training.schemas import DeployableModelResource
from server.training.training import TrainingState

app = new_app("Fetch a candidate's model or its evidence; explain its latency.")
_console = make_console()
_progress = make_console(stderr=True)
POLL_S = 1.0
CandidateArgument = Annotated[str, typer.Argument(metavar="CANDIDATE", help="Id, cand_...")]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="File or folder to write to [the file's own name, here].")
]


class ModelFormat(StrEnum):
    """File format of a model."""

    ONNX = "onnx"
    RKNN = "rknn"


@app.command()
def models(
    candidate: CandidateArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List a candidate's model files."""
    with connect(server, token) as nas:
        found = list(nas.candidates.models(candidate))
    if as_json:
        print_json(found)
        return
    table = Table("file", "format", "dtype", "weights", "state")
    for one in found:
        table.add_row(one.file_name, one.format, one.dtype, one.weights, f"{one.state} {one.reason}".strip())
    _console.print(table)


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
        model = _model(nas, candidate, format)
        path = _target(out, model.file_name or f"{candidate}-{model.dtype}.{model.format}")
        nas.artifacts.download(model.sha256 or "", path)
    typer.echo(path)


@app.command()
def bundle(
    candidate: CandidateArgument,
    out: OutOption = None,
    retrained: Annotated[
        bool, typer.Option("--retrained", help="Of the network that `hilnas retrain` made of it last.")
    ] = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Fetch the signed evidence behind a candidate: models, raw samples, circumstances, spec."""
    with connect(server, token) as nas:
        if retrained:
            typer.echo(nas.networks.bundle(_retrained(nas, candidate), out or Path()))
            return
        _model(nas, candidate, ModelFormat.ONNX)
        typer.echo(nas.candidates.bundle(candidate, out or Path()))


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


def main(argv: Sequence[str]) -> int:
    """Entry of ``hilnas candidates``."""
    return run(app, "candidates", argv)


def _model(nas: Hilnas, candidate: str, format: ModelFormat) -> DeployableModelResource:
    """The candidate's file of a format, exported or converted meanwhile.

    Raises:
        HilnasError: there is none, and none can be made.
    """
    exported = False
    while True:  # ends with the attempts of the jobs
        found = list(nas.candidates.models(candidate))
        wanted = [one for one in found if one.format == format.value]
        if ready := [one for one in wanted if one.sha256 is not None]:
            return ready[0]
        if any(one.state == "converting" for one in wanted):
            time.sleep(POLL_S)
            continue
        if wanted:
            raise HilnasError(f"the {format.value} file of {candidate} failed: {wanted[0].reason}")
        if found:
            made = ", ".join(one.file_name for one in found)
            raise HilnasError(
                f"{candidate} has no {format.value} file ({made}): the search's device runs none; `hilnas convert` or "
                "`hilnas retrain --rknn` makes one"
            )
        if exported:
            raise HilnasError(
                f"the supernet's weights of {candidate} do not fit the network as a board runs it: train it by itself "
                f"(hilnas retrain {candidate})"
            )
        _export(nas, candidate)
        exported = True


def _retrained(nas: Hilnas, candidate: str) -> str:
    """The newest network that is trained and is this candidate's. Raises HilnasError: there is none."""
    id = nas.searches.candidate(candidate).id
    for network in nas.networks.all(states=[TrainingState.READY.value]):
        if network.spec.labels.get("candidate") == id:
            return network.id
    raise HilnasError(f"{candidate} was not trained by itself yet: hilnas retrain {candidate} --follow")


def _export(nas: Hilnas, candidate: str) -> None:
    """Have it exported, and wait. Raises HilnasError: the job failed."""
    job = nas.candidates.export(candidate)
    _progress.print(f"{candidate} is being exported: {job.id}", highlight=False, soft_wrap=True)
    while job.state in (JobState.QUEUED, JobState.LEASED):
        time.sleep(POLL_S)
        job = nas.jobs.get(job.id)
    if job.state is not JobState.DONE:
        raise HilnasError(f"{job.id} {job.state.value}: {job.failure_type or '-'}: {job.failure_message}")


def _target(out: Path | None, name: str) -> Path:
    if out is None:
        return Path(name)
    return out / name if out.is_dir() else out
