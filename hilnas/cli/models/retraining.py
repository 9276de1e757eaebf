"""``hilnas candidates retrain``: train a candidate stand-alone, and fetch the files to ship."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli.completions import names_of, presets
from hilnas.cli.options import CandidateArgument, JsonOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.specs.spec_files import read_spec_file
from hilnas.client.errors import SpecFileError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.text import did_you_mean


class RknnDtype(StrEnum):
    """Arithmetic of an RKNN file."""

    FP16 = "fp16"
    W8A8 = "w8a8"


def retrain(
    candidate: CandidateArgument,
    file: Annotated[Path | None, typer.Argument(help="Settings as JSON or YAML; - reads standard input.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Recipe whose settings to take, see `hilnas presets list`.", autocompletion=presets),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Registered data set; absent: the search's.", autocompletion=names_of("datasets"))
    ] = None,
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
    from hilnas.cli.models.model_files import fetch_all
    from hilnas.cli.specs.trainings import follow_to_the_end, say_deviations

    spec = _preset(preset)
    say_deviations(preset)
    spec.update({} if file is None else read_spec_file(file))
    if epochs is not None or iterations is not None:
        spec.update({"epochs": epochs, "iterations": iterations})
    given: dict[str, JsonValue] = {"dataset": dataset, "batch_size": batch_size, "inherit": inherit or None}
    spec.update({name: value for name, value in given.items() if value is not None})
    if rknn is not None:
        spec.update({"formats": ["onnx", "rknn"], "rknn_dtype": rknn.value})
    with connect(server, token) as nas:
        found = nas.searches.candidate(candidate)  # that there is one is said before what its training lacks
        network = nas.candidates.retrain(found.id, spec)
        if not follow and output is None:
            print_json(network) if as_json else typer.echo(network.id)
            return
        ended = follow_to_the_end(nas, network, as_json=as_json)
        fetch_all(nas, ended.id, output, as_json=as_json)
    print_json(ended) if as_json else typer.echo(ended.id)


def _preset(name: str | None) -> dict[str, JsonValue]:
    """The settings of a retraining recipe that are not the network's own."""
    if name is None:
        return {}
    from nas_engine.settings.presets import TRAINING_PRESETS
    from nas_engine.settings.training import NetworkSpec
    from server.training.networks.candidate_retraining_spec import CandidateRetrainingSpec

    known = [one for one, preset in TRAINING_PRESETS.items() if isinstance(preset.spec, NetworkSpec)]
    if name not in known:
        raise SpecFileError(
            f"{name!r} is no retraining recipe: known are {', '.join(known)}{did_you_mean(name, known)}"
        )
    settings = TRAINING_PRESETS[name].spec.model_dump(mode="json")
    kept = set(CandidateRetrainingSpec.model_fields) - {"name", "labels"}
    return {key: value for key, value in settings.items() if key in kept}
