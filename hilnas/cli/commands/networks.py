"""``hilnas networks``: train single networks on the server's worker, and fetch their files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilnas.cli.completions import presets
from hilnas.cli.local.options import DataOption, DeviceOption, FormatOption, LocalOption, OutOption
from hilnas.cli.options import (
    FollowOption,
    JsonOption,
    ServerOption,
    TokenOption,
    connect,
    documents,
    print_json,
)
from hilnas.cli.runner import new_app
from hilnas.cli.shown import listings
from hilnas.cli.verbs import About, add_training_verbs

app = new_app("Train single networks; fetch their model files.")
ABOUT = About("networks", "network", "network")
NetworkArgument = Annotated[str, typer.Argument(metavar=ABOUT.metavar, help=ABOUT.help, autocompletion=ABOUT.complete)]


@app.command()
def train(
    file: Annotated[Path | None, typer.Argument(help="Spec as JSON or YAML; - reads standard input.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Recipe to start from; `hilnas presets list` names them.", autocompletion=presets)
    ] = None,
    space: Annotated[str | None, typer.Option(help="Search space, e.g. spos.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Registered data set, e.g. fashion-mnist-12k.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the network for people, shown in lists.")] = None,
    architecture: Annotated[
        str | None, typer.Option("--architecture", "-a", help="Of one network: published name, or genotype as JSON.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Update steps, instead of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images per step.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights and sampling.")] = None,
    local: LocalOption = False,
    data: DataOption = None,
    data_format: FormatOption = None,
    out: OutOption = None,
    device: DeviceOption = "auto",
    follow: FollowOption = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Train one network by itself: preset, spec file, options, the later ones win."""
    from hilnas.cli.specs.trainings import TrainingOptions, list_presets, of_one_network, training_document
    from hilnas.cli.specs.trainings import train as train_by

    if preset == "list":
        list_presets()
        return
    options = TrainingOptions(
        name=name,
        space=space,
        dataset=dataset,
        architecture=architecture,
        epochs=epochs,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
    )
    spec = of_one_network(training_document(file, preset, options))
    if local:
        from hilnas.cli.specs.local_trainings import LocalOptions, train_locally

        train_locally(spec, preset, LocalOptions(data=data, kind=data_format, out=out, device=device))
        return
    train_by(spec, follow=follow, as_json=as_json, server=server, token=token)


add_training_verbs(app, ABOUT, lambda nas, reference: nas.networks.get(reference))


@app.command()
def models(
    network_id: NetworkArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List a network's model files, for boards."""
    with documents(server, token) as nas:
        found = list(nas.items("networks", network_id, "models"))
    listings.show(found, listings.MODELS, as_json=as_json)


@app.command()
def download(
    network_id: NetworkArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path(),
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Fetch a network's model files, conversions that still run included."""
    from hilnas.cli.models.model_files import fetch_all

    with connect(server, token) as nas:
        fetched = fetch_all(nas, nas.networks.get(network_id).id, out, as_json=as_json)
    if as_json:
        print_json(fetched)
