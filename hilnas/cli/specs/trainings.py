"""What ``hilnas supernets train`` and ``hilnas networks train`` share: the spec that is sent, and following it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from hilnas.cli.options import connect, print_json
from hilnas.cli.progress import follow_network, follow_supernet
from hilnas.cli.specs.spec_files import read_spec_file
from hilnas.cli.terminal import make_console
from hilnas.client.client import Hilnas
from hilnas.client.errors import HilnasError, SpecFileError
from nas_engine.domain.json_value import JsonValue
from nas_engine.domain.text import did_you_mean
from nas_engine.settings.presets import TRAINING_PRESETS
from nas_engine.settings.strategies import NetworkSettings, SandwichSettings
from nas_engine.settings.training import trains_network
from server.training.networks.schemas import NetworkResource
from server.training.schemas import SupernetResource
from server.training.training import TrainingState

RETRAIN = "retrain"
"""Strategy by which commands, and specs of the first release, say that one network is trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Options that replace single places of a spec; None leaves them.

    Attributes:
        name: for people.
        space: id of a search space.
        dataset: name of a registered data set.
        strategy: how subnets are drawn; `retrain` for one network.
        architecture: of one network, a published name or JSON.
        epochs, iterations: the length, either.
        batch_size: images per step.
        seed: of weights and sampling.
    """

    name: str | None = None
    space: str | None = None
    dataset: str | None = None
    strategy: str | None = None
    architecture: str | None = None
    epochs: int | None = None
    iterations: int | None = None
    batch_size: int | None = None
    seed: int | None = None


def training_document(file: Path | None, preset: str | None, options: TrainingOptions) -> dict[str, JsonValue]:
    """The spec to be sent: of a preset, a file, options; the later ones win.

    Raises:
        SpecFileError: the file cannot be read, there is no such preset, or there is nothing to train.
    """
    spec = _preset(preset)
    say_deviations(preset)
    own = {} if file is None else read_spec_file(file)
    if "strategy" in own:
        spec = _without_network(spec)
    spec.update(own)
    given: dict[str, JsonValue] = {
        "name": options.name,
        "dataset": options.dataset,
        "epochs": options.epochs,
        "iterations": options.iterations,
        "batch_size": options.batch_size,
        "seed": options.seed,
    }
    spec.update({option: value for option, value in given.items() if value is not None})
    if options.epochs is not None or options.iterations is not None:
        # Of a preset's length and one's own, one's own holds.
        spec.pop("iterations" if options.epochs is not None else "epochs", None)
    if options.space is not None:
        spec["space"] = {"id": options.space}
    if options.strategy == RETRAIN:
        spec = {"architecture": None, **{name: value for name, value in spec.items() if name != "strategy"}}
    elif options.strategy is not None:
        spec = {**_without_network(spec), "strategy": {"kind": options.strategy}}
    if options.architecture is not None:
        _set_architecture(spec, _document(options.architecture))
    if not set(spec) - {"strategy", "architecture"}:
        raise SpecFileError("nothing to train: give a preset, a spec file, or at least --space, --dataset and --epochs")
    if preset is None:
        _say_of_strategy(spec)
    return spec


def of_one_network(spec: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The spec as that of a network's training, which it is where it names no strategy.

    Raises:
        SpecFileError: it is a supernet's.
    """
    found: dict[str, JsonValue] = spec if "strategy" in spec else {"architecture": None, **spec}
    if not trains_network(found):
        raise SpecFileError("this spec trains a supernet: `hilnas supernets train` takes it")
    return found


def train(spec: dict[str, JsonValue], *, follow: bool, as_json: bool, server: str | None, token: str | None) -> None:
    """Start a training, and print its id; with `follow` once it is ready.

    Raises:
        HilnasError: it was followed, and did not get ready.
    """
    with connect(server, token) as nas:
        of_network = trains_network(spec)
        made = nas.networks.create(spec) if of_network else nas.supernets.create(spec)
        if not follow:
            print_json(made) if as_json else typer.echo(made.id)
            return
        ended = follow_to_the_end(nas, made, as_json=as_json)
    print_json(ended) if as_json else typer.echo(ended.id)


def follow_to_the_end(
    nas: Hilnas, training: SupernetResource | NetworkResource, *, as_json: bool = False
) -> SupernetResource | NetworkResource:
    """Show a training until it is ready; on standard error where JSON goes to standard output.

    Raises:
        HilnasError: it ended otherwise.
    """
    of_network = isinstance(training, NetworkResource)
    ended = (follow_network if of_network else follow_supernet)(nas, training.id, make_console(stderr=as_json))
    if ended.state is not TrainingState.READY:
        reason = ended.reason or "no reason was given"
        raise HilnasError(f"{'network' if of_network else 'supernet'} {ended.id} is {ended.state.value}: {reason}")
    return ended


def say_deviations(preset: str | None) -> None:
    """Print what of a recipe is not the paper's, for who launches it."""
    for deviation in () if preset is None else TRAINING_PRESETS[preset].deviations:
        typer.echo(f"differs from the paper: {deviation}", err=True)


def _say_of_strategy(spec: Mapping[str, JsonValue]) -> None:
    """Print what a strategy by itself has not of its paper."""
    match spec:
        case {"strategy": {"kind": "sandwich"}} if not spec.keys() >= {"optimizer", "augmentation", "resolution"}:
            typer.echo(f"differs from the paper: {SandwichSettings.WITHOUT_PRESET}", err=True)


def list_presets() -> None:
    """Print the recipes of trainings."""
    for known in TRAINING_PRESETS.values():
        typer.echo(f"{known.name:32}{known.summary}")


def _preset(name: str | None) -> dict[str, JsonValue]:
    """The document of a preset; empty for none."""
    if name is None:
        return {}
    if name not in TRAINING_PRESETS:
        known = ", ".join(TRAINING_PRESETS)
        raise SpecFileError(f"unknown preset {name!r}: known are {known}{did_you_mean(name, TRAINING_PRESETS)}")
    return TRAINING_PRESETS[name].spec.model_dump(mode="json")


def _document(text: str) -> JsonValue:
    """A genotype or another JSON form as such, anything else as a name."""
    try:
        document: JsonValue = json.loads(text)
    except ValueError:
        return text
    return document


def _without_network(spec: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The spec without what only networks have: another strategy takes its place."""
    return {name: value for name, value in spec.items() if name not in NetworkSettings.model_fields}


def _set_architecture(spec: dict[str, JsonValue], architecture: JsonValue) -> None:
    """Name the architecture of a network: in its spec, or in the strategy that the first release wrote it in."""
    strategy = spec.get("strategy")
    if strategy is None:
        spec["architecture"] = architecture
    elif isinstance(strategy, Mapping) and strategy.get("kind") == RETRAIN:
        spec["strategy"] = {**strategy, "architecture": architecture}
    else:
        raise SpecFileError("--architecture is for retrainings: leave it out, or give `--strategy retrain`")
