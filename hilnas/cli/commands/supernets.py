"""``hilnas supernets``: train supernets on the server's worker, and read how that goes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilnas.cli.completions import names_of, presets
from hilnas.cli.exit_status import ExitStatus
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
from hilnas.cli.terminal import make_console
from hilnas.cli.verbs import About, add_training_verbs

if TYPE_CHECKING:
    from hilnas.client.client import Hilnas

app = new_app("Train supernets or import them; list, follow, cancel them.")
ABOUT = About("supernets", "supernet", "sup")
SupernetArgument = Annotated[str, typer.Argument(metavar=ABOUT.metavar, help=ABOUT.help, autocompletion=ABOUT.complete)]


@app.command()
def train(
    file: Annotated[Path | None, typer.Argument(help="Spec as JSON or YAML; - reads standard input.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Recipe to start from; `hilnas presets list` names them.", autocompletion=presets)
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Search space, e.g. spos.", autocompletion=names_of("search-spaces"))
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Registered data set, e.g. fashion-mnist-12k.", autocompletion=names_of("datasets")),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the supernet for people, shown in lists.")] = None,
    strategy: Annotated[str | None, typer.Option(help="How subnets are drawn; retrain for one network.")] = None,
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
    cost_table: Annotated[
        Path | None, typer.Option(help="With --local and the spec of a densenas search: file of its cost table.")
    ] = None,
    follow: FollowOption = False,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Train a supernet, or one network (`--strategy retrain`): preset, spec file, options, the later ones win."""
    from hilnas.cli.specs.trainings import TrainingOptions, list_presets, training_document
    from hilnas.cli.specs.trainings import train as train_by

    if preset == "list":
        list_presets()
        return
    options = TrainingOptions(
        name=name,
        space=space,
        dataset=dataset,
        strategy=strategy,
        architecture=architecture,
        epochs=epochs,
        iterations=iterations,
        batch_size=batch_size,
        seed=seed,
    )
    spec = training_document(file, preset, options)
    if local:
        from hilnas.cli.specs.local_trainings import LocalOptions, train_locally

        train_locally(
            spec, preset, LocalOptions(data=data, kind=data_format, out=out, device=device, cost_table=cost_table)
        )
        return
    train_by(spec, follow=follow, as_json=as_json, server=server, token=token)


@app.command()
def plan(
    spec: Annotated[str, typer.Argument(help="Spec of a training or of a differentiable search: a file, or a preset.")],
    memory_gib: Annotated[float, typer.Option(min=0.1, help="Memory of each device, GiB.")],
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes that train together, a device each [the spec's].")
    ] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Passes run in 16 bits, where the spec allows it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say how a training would lie in a GPU's memory; needs no GPU and no server. Ends with 1 where it does not fit."""
    from hilnas.cli.models.training_plans import rows_of, training_plan

    found = training_plan(spec, memory_gib, processes, is_mixed=mixed)
    if as_json:
        typer.echo(json.dumps({**asdict(found), "fits": found.fits}))
    else:
        for title, text in rows_of(found):
            typer.echo(f"{title:38}{text}")
    if not found.fits:
        raise typer.Exit(ExitStatus.FAILED)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Checkpoint or weights.")],
    layout: Annotated[
        str, typer.Option(help="spos or attentivenas: as published; hilnas: weights that hilnas trained elsewhere.")
    ],
    spec: Annotated[
        Path | None, typer.Option(help="Spec they were trained with [of a published layout: the paper's preset].")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Registered data set that they classify.", autocompletion=names_of("datasets"))
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the supernet for people, shown in lists.")] = None,
    as_json: JsonOption = False,
    server: ServerOption = None,
    token: TokenOption = None,
) -> None:
    """Register a supernet that was trained elsewhere, such as the authors' own; nothing in the file is run."""
    from hilnas.cli.models.imported_supernets import imported_supernet
    from hilnas.cli.specs.spec_files import read_spec_file
    from hilnas.cli.working import transferring

    changes = {field: value for field, value in (("dataset", dataset), ("name", name)) if value is not None}
    found = imported_supernet(file, layout, {} if spec is None else read_spec_file(spec), changes)
    for remark in found.remarks:
        typer.echo(remark, err=True)
    with connect(server, token) as nas, tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / f"{found.spec.name}.safetensors"
        found.weights.save(weights)
        with transferring(make_console(stderr=True), weights.name, weights.stat().st_size) as on_bytes:
            sha256 = nas.artifacts.upload(weights, on_bytes=on_bytes).sha256
        made = nas.supernets.register(found.spec, sha256, provenance=found.provenance)
    print_json(made) if as_json else typer.echo(made.id)


def _origin(nas: Hilnas, supernet: str) -> dict[str, str]:
    """Where imported weights come from: layout, source, licence, file; nothing of a supernet that was trained here."""
    known = next((version.statistics for version in nas.supernets.versions(supernet)), None)
    provenance = known.get("provenance") if isinstance(known, dict) else None
    return {name: str(text) for name, text in provenance.items()} if isinstance(provenance, dict) else {}


add_training_verbs(app, ABOUT, lambda nas, reference: nas.supernets.get(reference), _origin)


@app.command()
def versions(
    supernet_id: SupernetArgument, as_json: JsonOption = False, server: ServerOption = None, token: TokenOption = None
) -> None:
    """List the published weights of a supernet, oldest first."""
    with documents(server, token) as nas:
        found = list(nas.items("supernets", supernet_id, "versions"))
    columns = (
        ("version", listings.member("number")),
        ("id", listings.member("id")),
        ("weights", lambda one: str(one["weights_sha256"])[:12]),
        ("created", listings.time("created_at")),
    )
    listings.show(found, columns, as_json=as_json)
