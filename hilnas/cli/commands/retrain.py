"""``hilnas retrain``: train a candidate stand-alone, and fetch the files to ship."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli.options import JsonOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.progress import follow_network
from hilnas.cli.runner import run
from hilnas.cli.spec_files import read_spec_file
from hilnas.cli.terminal import make_console
from hilnas.client.client import Hilnas
from hilnas.client.errors import HilnasError, SpecFileError
from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.training import NetworkSpec
from server.training.networks.candidate_retraining_spec import CandidateRetrainingSpec
from server.training.schemas import DeployableModelResource
from server.training.training import TrainingState

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_console = make_console()
POLL_S = 1.0


class RknnDtype(StrEnum):
    """Arithmetic of an RKNN file."""

    FP16 = "fp16"
    W8A8 = "w8a8"


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def retrain(
    candidate: Annotated[str, typer.Argument(help="Candidate of a search, cand_...")],
    file: Annotated[Path | None, typer.Argument(help="Settings as JSON or YAML; - reads standard input.")] = None,
    preset: Annotated[str | None, typer.Option(help="Retraining recipe whose settings to take.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Registered data set; absent: the search's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Update steps, instead of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images per step.")] = None,
    inherit: Annotated[bool, typer.Option("--inherit", help="Start from the supernet's weights.")] = False,
    rknn: Annotated[RknnDtype | None, typer.Option(help="Also make an RKNN file.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show it until it ends, conversion included.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the model files; follows to the end.")
    ] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Train a candidate's architecture by itself: settings of a preset, a file, options; the later ones win."""
    spec = _preset(preset)
    spec.update({} if file is None else read_spec_file(file))
    if epochs is not None or iterations is not None:
        spec.update({"epochs": epochs, "iterations": iterations})
    given: dict[str, JsonValue] = {"dataset": dataset, "batch_size": batch_size, "inherit": inherit or None}
    spec.update({name: value for name, value in given.items() if value is not None})
    if rknn is not None:
        spec.update({"formats": ["onnx", "rknn"], "rknn_dtype": rknn.value})
    with connect(server, token) as nas:
        network = nas.candidates.retrain(candidate, spec)
        if not follow and output is None:
            print_json(network) if as_json else typer.echo(network.id)
            return
        ended = follow_network(nas, network.id, _console)
        if ended.state is not TrainingState.READY:
            raise HilnasError(f"network {ended.id} is {ended.state.value}: {ended.reason or 'no reason was given'}")
        models = _finished_models(nas, network.id)
        for model in models:
            _print(nas, model, network.id, output)
    if failed := [model for model in models if model.sha256 is None]:
        raise HilnasError(f"{failed[0].format} file: {failed[0].reason or failed[0].state}")
    typer.echo(network.id)


def main(argv: Sequence[str]) -> int:
    """Entry of ``hilnas retrain``."""
    return run(app, "retrain", argv)


def _preset(name: str | None) -> dict[str, JsonValue]:
    """The settings of a retraining recipe that are not the network's own."""
    if name is None:
        return {}
    known = [one for one, preset in TRAINING_PRESETS.items() if isinstance(preset.spec, NetworkSpec)]
    if name not in known:
        raise SpecFileError(f"{name!r} is no retraining recipe: known are {', '.join(known)}")
    document = TRAINING_PRESETS[name].spec.model_dump(mode="json")
    settings = {**document, **document["strategy"]}
    kept = set(CandidateRetrainingSpec.model_fields) - {"name", "labels"}
    return {key: value for key, value in settings.items() if key in kept}


def _finished_models(nas: Hilnas, network_id: str) -> list[DeployableModelResource]:
    """Every model file, once none is being converted any more."""
    while True:  # ends with the conversion's attempts
        models = list(nas.networks.models(network_id))
        if all(model.state != "converting" for model in models):
            return models
        _console.print("waiting for the conversion", highlight=False)
        time.sleep(POLL_S)


def _print(nas: Hilnas, model: DeployableModelResource, network_id: str, output: Path | None) -> None:
    if model.sha256 is None:
        return
    place = model.sha256
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        path = output / f"{network_id}-{model.dtype}.{model.format}"
        nas.artifacts.download(model.sha256, path)
        place = str(path)
    left = f", left to the CPU: {', '.join(model.cpu_operators)}" if model.cpu_operators else ""
    _console.print(f"{model.format} {model.dtype}: {place}{left}", highlight=False, soft_wrap=True)
