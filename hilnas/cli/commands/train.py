"""``hilnas train``: train a supernet, or one network by itself, on the server's worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli.options import JsonOption, ServerOption, TokenOption, connect, print_json
from hilnas.cli.progress import follow_network, follow_supernet
from hilnas.cli.runner import run
from hilnas.cli.spec_files import read_spec_file
from hilnas.cli.terminal import make_console
from hilnas.client.errors import HilnasError, SpecFileError
from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.training import trains_network
from server.training.training import TrainingState

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_console = make_console()


@app.command(context_settings={"help_option_names": ["-h", "--help"]})
def train(
    file: Annotated[Path | None, typer.Argument(help="Spec as JSON or YAML; - reads standard input.")] = None,
    preset: Annotated[str | None, typer.Option(help="Recipe to start from; `--preset list` names them.")] = None,
    space: Annotated[str | None, typer.Option(help="Search space, e.g. spos.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Registered data set, e.g. fashion-mnist-12k.")] = None,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    strategy: Annotated[str | None, typer.Option(help="How subnets are drawn, e.g. uniform.")] = None,
    architecture: Annotated[
        str | None, typer.Option("--architecture", "-a", help="Of one network: published name, or genotype as JSON.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Update steps, instead of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images per step.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights and sampling.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show it until it ends.")] = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Train a supernet, or one network (`--strategy retrain`): preset, spec file, options, the later ones win."""
    if preset == "list":
        for known in TRAINING_PRESETS.values():
            typer.echo(f"{known.name:32}{known.summary}")
        return
    spec = _preset(preset)
    for deviation in () if preset is None else TRAINING_PRESETS[preset].deviations:
        typer.echo(f"differs from the paper: {deviation}", err=True)
    spec.update({} if file is None else read_spec_file(file))
    options = {
        "name": name,
        "dataset": dataset,
        "epochs": epochs,
        "iterations": iterations,
        "batch_size": batch_size,
        "seed": seed,
    }
    spec.update({option: value for option, value in options.items() if value is not None})
    if epochs is not None or iterations is not None:
        # Of a preset's length and one's own, one's own holds.
        spec.pop("iterations" if epochs is not None else "epochs", None)
    if space is not None:
        spec["space"] = {"id": space}
    if strategy is not None:
        spec["strategy"] = {"kind": strategy}
    if architecture is not None:
        spec["strategy"] = {**_retraining(spec), "architecture": _document(architecture)}
    if not spec:
        raise SpecFileError("nothing to train: give a preset, a spec file, or at least --space, --dataset and --epochs")
    with connect(server, token) as nas:
        of_network = trains_network(spec)
        made = nas.networks.create(spec) if of_network else nas.supernets.create(spec)
        if not follow:
            print_json(made) if as_json else typer.echo(made.id)
            return
        ended = (follow_network if of_network else follow_supernet)(nas, made.id, _console)
    if ended.state is not TrainingState.READY:
        reason = ended.reason or "no reason was given"
        raise HilnasError(f"{'network' if of_network else 'supernet'} {ended.id} is {ended.state.value}: {reason}")
    typer.echo(ended.id)


def main(argv: Sequence[str]) -> int:
    """Entry of ``hilnas train``."""
    return run(app, "train", argv)


def _preset(name: str | None) -> dict[str, JsonValue]:
    """The document of a preset; empty for none."""
    if name is None:
        return {}
    if name not in TRAINING_PRESETS:
        raise SpecFileError(f"unknown preset {name!r}: known are {', '.join(TRAINING_PRESETS)}")
    return TRAINING_PRESETS[name].spec.model_dump(mode="json")


def _document(text: str) -> JsonValue:
    """A genotype or another JSON form as such, anything else as a name."""
    try:
        document: JsonValue = json.loads(text)
    except ValueError:
        return text
    return document


def _retraining(spec: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The spec's strategy, which must be a retraining; a plain one where the spec names none."""
    strategy = spec.get("strategy", {"kind": "retrain"})
    if not isinstance(strategy, Mapping) or strategy.get("kind") != "retrain":
        raise SpecFileError("--architecture is for retrainings: leave it out, or give `--strategy retrain`")
    return dict(strategy)
